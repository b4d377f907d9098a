"""What a command says: progress on stderr, results on stdout.

On a terminal progress is one live line (bar, rate, time left, memory); elsewhere it is a plain
line every few seconds. Results are either readable text or, with `--json`, one JSON object.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as LiveProgress

__all__ = ["Progress", "format_bytes", "format_count", "note", "show"]

LINE_EVERY_S = 5.0
BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Progress:
    """How far a piece of work is; use it as a context manager around the work.

    Args:
        unit: what is counted, as in "rows".
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._live = _live_line() if sys.stderr.isatty() else None
        self._task: TaskID | None = None
        self._stage = ""
        self._started = self._spoke = self._updated = time.perf_counter()
        self._unsaid = ""

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
        elif self._unsaid and error is None:
            note(self._unsaid)

    def update(self, stage: str, done: float, total: float | None = None, detail: str = "") -> None:
        """Say that `done` of `total` units of `stage` are finished; `detail` is shown as it is."""
        if stage != self._stage:
            self._begin(stage)
        if self._live and self._task is not None:
            words = " · ".join(part for part in (self._rate(done), _memory(), detail) if part)
            self._live.update(self._task, completed=done, total=total, words=words)
        elif not self._live:
            self._say(stage, done, total, detail)

    def _begin(self, stage: str) -> None:
        self._stage, self._started = stage, time.perf_counter()
        if not self._live:
            return
        if self._task is not None:
            self._live.stop_task(self._task)
        self._task = self._live.add_task(stage, total=None, words="")

    def _say(self, stage: str, done: float, total: float | None, detail: str) -> None:
        share = f" of {format_count(total)}" if total else ""
        left = self._time_left(done, total)
        said = [f"{stage}: {format_count(done)}{share} {self.unit}", self._rate(done), left]
        self._unsaid = ", ".join(part for part in (*said, _memory(), detail) if part)
        if time.perf_counter() - self._spoke >= LINE_EVERY_S:
            note(self._unsaid)
            self._spoke, self._unsaid = time.perf_counter(), ""

    def _rate(self, done: float) -> str:
        seconds = time.perf_counter() - self._started
        return f"{format_count(done / seconds)} {self.unit}/s" if seconds > 0.5 and done else ""

    def _time_left(self, done: float, total: float | None) -> str:
        seconds = time.perf_counter() - self._started
        if not total or not done or seconds < 0.5:
            return ""
        return f"{seconds * max(total - done, 0) / done:.0f} s left"


def note(text: str) -> None:
    """One plain line on stderr."""
    print(text, file=sys.stderr, flush=True)


def show(result: Mapping[str, Any], as_json: bool) -> None:
    """The result of a command on stdout: one JSON object on one line, or aligned text."""
    if as_json:
        print(json.dumps(_plain(result), allow_nan=False, ensure_ascii=False), flush=True)
    else:
        print("\n".join(_lines(result)), flush=True)


def format_bytes(size: float) -> str:
    """Bytes in words, as in "1.5 GiB"."""
    power = min(int(math.log(size, 1024)), len(BYTE_UNITS) - 1) if size >= 1 else 0
    return f"{size / 1024**power:.{0 if power == 0 else 1}f} {BYTE_UNITS[power]}"


def format_count(value: float) -> str:
    """A number as a person reads it: 12,345 or 0.87 or 4.1 M."""
    if isinstance(value, float) and not value.is_integer() and abs(value) < 1000:
        return f"{value:.4g}"
    if abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value / 1e9:,.2f} G" if abs(value) >= 1e9 else f"{value / 1e6:,.2f} M"


def _live_line() -> LiveProgress:
    return LiveProgress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
        console=Console(stderr=True),
    )


def _memory() -> str:
    return f"{format_bytes(psutil.Process().memory_info().rss)} in memory"


def _lines(result: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    width = max((len(str(key)) for key in result), default=0)
    for key, value in result.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}"
            yield from _lines(value, indent + "  ")
        elif _is_table(value):
            yield f"{indent}{key}"
            for row in value:
                yield from _item(row, indent + "  ")
        else:
            yield f"{indent}{key!s:<{width}}  {_words(str(key), value)}"


def _item(row: Mapping[str, Any], indent: str) -> Iterator[str]:
    first, *rest = _lines(row)
    yield f"{indent}- {first}"
    yield from (f"{indent}  {line}" for line in rest)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _words(key: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int | float):
        return format_bytes(value) if key.endswith("bytes") else _number(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(v) for v in value) or "-"
    return str(value)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _plain(value: Any) -> Any:
    """JSON has no NaN: a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
