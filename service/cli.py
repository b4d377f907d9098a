"""The command line: `gnn COMMAND …`, its exit codes and the one sentence that an error is.

0 done, 2 the user can mend it, 1 our fault, 130 interrupted. Commands are listed in the order a
newcomer needs them.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
import typer
from typer.exceptions import Abort, TyperException

from service.commands import (
    bench,
    certify,
    demo,
    doctor,
    embed,
    evaluate,
    info,
    ingest,
    ingest_graphs,
    key,
    plan,
    predict,
    serve,
    synth,
    train,
    tune,
    worker,
)
from service.commands.options import Debug

__all__ = ["COMMANDS", "app", "main"]

DONE, OUR_FAULT, USER_CAN_MEND, INTERRUPTED = 0, 1, 2, 130

Commands = Sequence[tuple[Callable[..., None], str]]

COMMANDS: Commands = (
    (demo.demo, "gnn demo --keep demo"),
    (
        ingest.ingest,
        "gnn ingest --edges edges.csv --nodes nodes.csv --features features.npy --out graph",
    ),
    (
        ingest_graphs.ingest_graphs,
        "gnn ingest-graphs --format smiles molecules.csv --split-kind scaffold --out molecules",
    ),
    (info.info, "gnn info graph"),
    (info.verify, "gnn verify graph"),
    (plan.plan, "gnn plan graph --hidden 256 --layers 3"),
    (
        train.train,
        "gnn train graph --out models/default --task node-classification --model sage",
    ),
    (tune.tune, "gnn tune graph --out models/default --space space.toml --trials 20"),
    (evaluate.evaluate, "gnn evaluate graph models/default --split test"),
    (certify.certify, "gnn certify models/default"),
    (embed.embed, "gnn embed graph models/default --out embeddings --predictions"),
    (predict.predict, "gnn predict graph models/default --nodes 17,42 --mode exact"),
    (serve.serve, "gnn serve --graph graph --models models --embeddings embeddings"),
    (key.key, "gnn key dashboard --scopes read,predict --file keys.txt"),
    (
        worker.worker,
        "gnn worker --redis redis://queue --graph graph --models models --jobs jobs",
    ),
    (doctor.doctor, "gnn doctor"),
)
SYNTH_COMMANDS: Commands = (
    (synth.rmat, "gnn synth rmat --nodes 1000000 --edges 20000000 --features 64 --out files"),
    (synth.sbm, "gnn synth sbm --nodes 10000 --edges 100000 --classes 5 --features 16 --out files"),
)
BENCH_COMMANDS: Commands = (
    (bench.sampling, "gnn bench sampling --nodes 1000000 --edges 25000000 --fanouts 15,10,5"),
    (bench.gather, "gnn bench gather --nodes 4000000 --batch-size 500000 --width 128"),
    (bench.spmm, "gnn bench spmm --nodes 1000000 --edges 25000000 --width 128"),
    (bench.loader, "gnn bench loader --nodes 1000000 --edges 25000000 --fanouts 15,10,5"),
    (bench.train, "gnn bench train --nodes 1000000 --edges 20000000 --seeds 10000"),
    (bench.embed, "gnn bench embed --nodes 1000000 --edges 25000000 --layers 3"),
    (bench.ingest, "gnn bench ingest --nodes 10000000 --edges 100000000 --threads 2"),
    (bench.serve, "gnn bench serve --nodes 1000000 --edges 20000000 --seconds 60"),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    arguments = ingest.repeat_options(sys.argv[1:] if argv is None else argv)
    # standard output is for results
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        command = typer.main.get_command(app)
        code = command.main(arguments, prog_name="gnn", standalone_mode=False)
    except (KeyboardInterrupt, Abort):
        _say("interrupted; nothing half-written is left behind")
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OUR_FAULT
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        code, sentence = explain(error, arguments)
        if sentence:
            _say(sentence)
    sys.exit(code if isinstance(code, int) else DONE)


def explain(error: Exception, arguments: Sequence[str] = ()) -> tuple[int, str]:
    """Exit code of an error, and one sentence: what was got and what to do."""
    if isinstance(error, TyperException):
        return USER_CAN_MEND, _usage_sentence(error, arguments)
    if _is_users(error):
        return USER_CAN_MEND, _no_graph(error) or " ".join(str(error).split())
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        what = error.strerror or str(error)
        return USER_CAN_MEND, f"{where}{what}; check the path, its rights and the space left"
    if isinstance(error, MemoryError):
        what = f"out of memory ({error})" if str(error) else "out of memory"
        return USER_CAN_MEND, f"{what}; `gnn plan` says what a graph needs"
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return OUR_FAULT, f"unexpected {what}; run it again with --debug and report what it shows"


def _is_users(error: Exception) -> bool:
    """Whether it is a GnnError; if sampling was never loaded, it cannot be one."""
    errors = sys.modules.get("sampling.errors")
    return errors is not None and isinstance(error, errors.GnnError)


def _no_graph(error: Exception) -> str:
    """What to do where a graph has no manifest and no array either: it was never there."""
    name, path = getattr(error, "array", ""), Path(getattr(error, "path", ""))
    if name != "graph.json" or (path / name).exists() or any(path.glob("*.npy")):
        return ""
    return (
        f"there is no graph at {path} (no {name}); make one with "
        f"`gnn ingest --edges FILE --out {path}`"
    )


def _usage_sentence(error: TyperException, arguments: Sequence[str]) -> str:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".").replace(" Value error,", "")
    if not message:  # a group without a command has just printed its help
        return ""
    options = [name for name in _names(error) if name in arguments[:-1]]
    value = repr(arguments[arguments.index(options[0]) + 1]) if options else ""
    got = f" (got {value})" if value not in message else ""
    return f"{message}{got}; see `{context.command_path if context else 'gnn'} --help`"


def _names(error: TyperException) -> list[str]:
    return list(getattr(getattr(error, "param", None), "opts", ()))


def _say(sentence: str) -> None:
    print(f"gnn: {sentence}", file=sys.stderr, flush=True)


def _group(commands: Commands, **settings: Any) -> typer.Typer:
    group = typer.Typer(
        epilog=f"Example: {commands[0][1]}",
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        **settings,
    )
    for function, example in commands:
        group.command(epilog=f"Example: {example}")(function)
    return group


app = _group(COMMANDS)
app.add_typer(
    _group(SYNTH_COMMANDS, help="Write synthetic graphs of any size, the same for the same seed."),
    name="synth",
)
app.add_typer(
    _group(BENCH_COMMANDS, help="Measure this installation beside peers, in one run."),
    name="bench",
)


@app.callback(invoke_without_command=False)
def gnn(debug: Debug = False) -> None:
    """Graph neural networks on very large graphs: ingest, train, embed and serve."""


if __name__ == "__main__":
    main()
