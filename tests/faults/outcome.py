"""What a fault came to: one row of the table in docs/reliability.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from faults.load import NO_TABLE, RIGHT, WRONG, Load

__all__ = ["Outcome", "Target", "table", "times"]

HEAD = (
    "| | fault | answers | wrong | jobs lost | failed requests | recovered after | targets | run |"
)
RULE = "|---|---|---:|---:|---:|---|---:|---|---|"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was promised, and the one that was measured.

    Attributes:
        what: is measured.
        got: that was.
        bound: that it may reach.
        unit: of both.
        at_least: the bound is the least, not the most.
    """

    what: str
    got: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def is_kept(self) -> bool:
        return self.got >= self.bound if self.at_least else self.got <= self.bound

    def __str__(self) -> str:
        unit = self.unit if self.unit in ("", "%") else f" {self.unit}"
        sign, verdict = "≥" if self.at_least else "≤", "kept" if self.is_kept else "**missed**"
        got, bound = (f"{value:,.2f}".rstrip("0").rstrip(".") for value in (self.got, self.bound))
        return f"{verdict}: {self.what} {got}{unit} ({sign} {bound}{unit})"


@dataclass(slots=True)
class Outcome:
    """One fault.

    Attributes:
        name: as in "F1".
        did: what was done, and how often.
        answers: right ones.
        wrong: answers with status 200 that held something else.
        lost: jobs that were accepted and did not end as they must.
        failed: what else became of requests, by kind.
        allowed: kinds of failure that this fault may cause, each with how many.
        recovery_s: the longest time until all was as before.
        recovery_limit_s: what that may be; None: nothing was promised.
        targets: other figures that were promised.
        note: one more thing to know.
        not_run: why it was not, if so.
    """

    name: str
    did: str
    answers: int = 0
    wrong: int = 0
    lost: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    allowed: Mapping[str, int] = field(default_factory=dict)
    recovery_s: float = 0.0
    recovery_limit_s: float | None = None
    targets: list[Target] = field(default_factory=list)
    note: str = ""
    not_run: str = ""

    def count(self, load: Load) -> Outcome:
        """Take over what became of all requests of a load."""
        found = load.count()
        self.answers += found.pop(RIGHT, 0)
        self.wrong += found.pop(WRONG, 0)
        found.pop(NO_TABLE, 0)  # a true answer, and of no use
        self.failed += found
        return self

    @property
    def recovered(self) -> str:
        return f"{self.recovery_s:.1f} s" if self.recovery_s else ""

    @property
    def promises(self) -> list[Target]:
        """Every target, that of the recovery first."""
        if self.recovery_limit_s is None:
            return self.targets
        recovery = Target("recovered after", self.recovery_s, self.recovery_limit_s, "s")
        return [recovery, *self.targets]

    @property
    def missed(self) -> list[Target]:
        """Targets that were not kept: said, but no failure, since machines differ."""
        return [target for target in self.promises if not target.is_kept]

    def check(self) -> None:
        """Fail where an answer was wrong, a job lost, or more went wrong than may."""
        assert not self.not_run, self.not_run
        assert (self.wrong, self.lost) == (0, 0), self
        beyond = {kind: n for kind, n in self.failed.items() if n > self.allowed.get(kind, 0)}
        assert not beyond, f"{self.name}: {beyond} failed, allowed are {dict(self.allowed)}"

    def row(self, run: str = "") -> str:
        """As a row of the table; `run` is when it was run."""
        if self.not_run:
            return f"| {self.name} | {self.did} | not run: {self.not_run} | | | | | | {run} |"
        failed = ", ".join(f"{n} {kind}" for kind, n in sorted(self.failed.items())) or "0"
        did = f"{self.did}; {self.note}" if self.note else self.did
        counts = f"{self.answers:,} | {self.wrong} | {self.lost}"
        targets = "; ".join(map(str, self.promises))
        return (
            f"| {self.name} | {did} | {counts} | {failed} | {self.recovered} | {targets} | {run} |"
        )


def times(count: int) -> str:
    """As in "5 times"."""
    return "once" if count == 1 else f"{count} times"


def table(rows: Sequence[str]) -> str:
    """Under their head, in Markdown."""
    return "\n".join([HEAD, RULE, *rows])
