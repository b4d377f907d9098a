"""`gnn doctor`: what is installed, what is missing, and what is lost without it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from service.commands.options import Debug, Json
from service.console import format_bytes, show

__all__ = ["doctor"]

SLOW_READS = "random reads of large graphs are slower"
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is there or missing; `lost` says what does not work without it."""

    found: bool
    what: str
    lost: str = ""


def doctor(json: Json = False, debug: Debug = False) -> None:
    """What this machine and this installation have, and what is lost without the rest."""
    findings = diagnose()
    if json:
        missing = [name for name, finding in findings.items() if not finding.found]
        show({"found": {n: asdict(f) for n, f in findings.items()}, "missing": missing}, True)
        return
    for name, finding in findings.items():
        mark = "ok     " if finding.found else "missing"
        lost = "" if finding.found else f"; without it: {finding.lost}"
        print(f"{mark}  {name:<16} {finding.what}{lost}")


def diagnose() -> dict[str, Finding]:
    """Every finding, by name."""
    return {
        "python": Finding(True, f"{platform.python_version()} on {platform.platform()}"),
        "cores": Finding(True, str(len(os.sched_getaffinity(0)))),
        "memory": _memory(),
        "huge pages": _huge_pages(),
        "torch": _package("torch", "nothing runs: `pip install torch`"),
        "compiled core": _compiled_core(),
        "dgl": _package(
            "dgl", "the bridge for DGL models and the comparison in `gnn bench`; "
            "`pip install dgl==1.1.3 packaging` on Python 3.11",
        ),
        "scikit-learn": _package("sklearn", "metrics and `gnn demo`: `pip install scikit-learn`"),
        "matplotlib": _package("matplotlib", "learning curves on model cards"),
        "tensorboard": _package("tensorboard", "`gnn train --log tensorboard:DIRECTORY`"),
        "mlflow": _package("mlflow", "`gnn train --log mlflow:URI`"),
        "optuna": _package("optuna", "`gnn tune`: `pip install optuna`"),
        "redis": _package("redis", "`gnn serve --redis`, `gnn worker`: `pip install 'redis[hiredis]'`"),
        "usearch": _package("usearch", "`gnn embed --index`: `pip install usearch`"),
        "httpx": _package("httpx", "the Python client of the service: `pip install httpx`"),
        "redis-server": _program(["redis-server"], "tests against a real Redis"),
        "chromium": _program(["chromium", "chromium-browser", "google-chrome"],
                             "tests of web pages in a real browser"),
    }  # fmt: skip


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    said = f"{format_bytes(memory.available)} available of {format_bytes(memory.total)}"
    return Finding(True, said)


def _huge_pages() -> Finding:
    if not HUGE_PAGES.exists():
        return Finding(False, "not offered by this system", SLOW_READS)
    chosen = HUGE_PAGES.read_text().split("[")[-1].split("]")[0]
    lost = f"{SLOW_READS}; `echo madvise` into {HUGE_PAGES} as root"
    return Finding(chosen != "never", f"transparent huge pages: {chosen}", lost)


def _compiled_core() -> Finding:
    try:
        core = importlib.import_module("sampling.kernels._core")
    except ImportError as error:
        return Finding(False, str(error), "nothing runs: install it again with a C++17 compiler")
    return Finding(True, Path(str(core.__file__)).name)


def _package(name: str, lost: str) -> Finding:
    """Whether a package can be imported, not only whether it is installed."""
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken package raises anything: a doctor must survive it
        return Finding(False, " ".join(f"{type(error).__name__}: {error}".split())[:160], lost)
    return Finding(True, str(getattr(module, "__version__", "installed")))


def _program(names: list[str], lost: str) -> Finding:
    path = next((found for name in names if (found := shutil.which(name))), None)
    return Finding(path is not None, path or "not on PATH", lost)
