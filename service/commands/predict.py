"""`gnn predict`: the answers of `POST /v1/nodes/predict`, without a server.

Rows are made by the same predictor, so they equal those of the service. Many ids are answered
in parts; a part changes no answer.
"""

from __future__ import annotations

import csv
import json as json_module
import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.commands.node_ids import parse_ids, read_ids, read_pairs
from service.commands.options import AllowModules, Debug, GraphPath, Json, ModelPath, Seed, Threads
from service.commands.predict_graphs import predict_graphs
from service.commands.writing import naming
from service.console import Progress, show

if TYPE_CHECKING:
    from service.predictor import Predictor

__all__ = ["predict"]

IDS_PER_PART = 10_000
PAIRS_PER_PART = IDS_PER_PART // 2
INCLUDES = ("label", "probabilities", "embedding", "prediction_set")
FORMATS = (".csv", ".jsonl", ".parquet")

Entry = dict[str, Any]


def predict(
    graph: GraphPath,
    model: ModelPath,
    nodes: Annotated[
        str | None, typer.Option(help="Node ids with commas between them.", show_default=False)
    ] = None,
    nodes_file: Annotated[
        Path | None, typer.Option(help="File with one node id per line.", show_default=False)
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Pairs to score by a link model, as in a:b,c:d.", show_default=False),
    ] = None,
    relation: Annotated[
        str | None, typer.Option(help="Edge type of the pairs, where there are several.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="FILE.csv, .jsonl or .parquet instead of the terminal.")
    ] = None,
    mode: Annotated[
        Literal["auto", "table", "exact", "sampled"],
        typer.Option(help="table, all neighbors, the model's fanouts, or the cheapest of them."),
    ] = "auto",
    include: Annotated[
        str,
        typer.Option(
            help="What to answer: label, probabilities, prediction_set, embedding; with commas."
        ),
    ] = "label,probabilities",
    embeddings: Annotated[
        Path | None, typer.Option(help="Directory of embeddings, used while they are fresh.")
    ] = None,
    on_unknown: Annotated[
        Literal["error", "report"], typer.Option(help="What to do about an id not in the graph.")
    ] = "error",
    output_format: Annotated[
        Literal["csv", "jsonl"], typer.Option("--format", help="How the terminal shows answers.")
    ] = "csv",
    allow_modules: AllowModules = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict for some nodes: labels and probabilities, values, or embeddings."""
    from sampling.errors import InputError
    from sampling.graph.manifest import is_collection

    if out is not None and out.suffix not in FORMATS:
        raise InputError(f"cannot write {out.name}; choose a name ending in {' or '.join(FORMATS)}")
    if out is not None:
        with naming(out):  # before the work, not after it
            out.parent.stat()
    texts = read_ids(nodes, nodes_file) if pairs is None else read_pairs(pairs, nodes, nodes_file)
    wanted = _includes(include)
    name, version = _model_name(model)
    if is_collection(graph):
        from gnn import load_model
        from gnn.brought import module_names
        from sampling import GraphCollection

        saved = load_model(model, module_names(allow_modules))
        about, rows = predict_graphs(saved, GraphCollection.open(graph), texts, wanted)
        _give(about, rows, "predictions", out, output_format, json)
        return
    predictor = _open(graph, model, name, version, embeddings, allow_modules, threads)
    if pairs is not None:
        _score(predictor, texts, (name, version, mode, relation), out, output_format, json)
        return
    ids = parse_ids(predictor.data.ids, texts, report_unknown=on_unknown == "report")

    def answers(part: Sequence[int | str]) -> Any:
        return predictor.predict(
            part, name, version, mode, wanted, seed=seed, on_unknown=on_unknown
        )

    about, rows = _in_parts(answers, ids)
    _give(about, rows, "predictions", out, output_format, json)


def _give(
    about: dict[str, Any],
    rows: list[Entry],
    what: str,
    out: Path | None,
    output_format: str,
    json: bool,
) -> None:
    """Write the entries to a file, or show them."""
    if out is not None:
        _write(out, rows)
        show({**about, what: len(rows), "out": str(out)}, json)
    elif json:
        show({**about, what: rows}, True)
    else:
        _print(rows, output_format)


def _score(
    predictor: Predictor,
    texts: list[str],
    asked: tuple[str, int | None, str, str | None],
    out: Path | None,
    output_format: str,
    json: bool,
) -> None:
    """Scores of pairs, whose ends come one behind the other in `texts`."""
    from sampling.errors import InputError
    from service.links import LinkQuery, predict_links

    name, version, mode, relation = asked
    if mode == "sampled":
        raise InputError("pairs are scored in mode auto, table or exact; drawn neighbors would "
                         "give other scores than the evaluation")  # fmt: skip
    ids = parse_ids(predictor.data.ids, texts)
    pairs = list(zip(ids[::2], ids[1::2], strict=True))
    rows: list[Entry] = []
    for start in range(0, len(pairs), PAIRS_PER_PART):
        part = pairs[start : start + PAIRS_PER_PART]
        answer = predict_links(predictor, LinkQuery(part, name, version, mode, relation))  # type: ignore[arg-type] # checked just above
        rows += answer.pop("scores")
    _give(answer, rows, "scores", out, output_format, json)


def _includes(text: str) -> list[str]:
    from sampling.errors import InputError

    wanted = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in wanted if part not in INCLUDES]
    if wrong or not wanted:
        got = wrong[0] if wrong else text
        raise InputError(f"cannot include {got!r}; choose from {', '.join(INCLUDES)}")
    return wanted


def _model_name(model: Path) -> tuple[str, int | None]:
    """MODELS/NAME and MODELS/NAME/3 as name and version."""
    resolved = model.resolve()
    if resolved.name.isdecimal() and not resolved.name.startswith("0"):
        return resolved.parent.name, int(resolved.name)
    return resolved.name, None


def _open(
    graph: Path,
    model: Path,
    name: str,
    version: int | None,
    embeddings: Path | None,
    allow_modules: str | None,
    threads: int | None,
) -> Predictor:
    import structlog

    from service.commands.serve import read_settings
    from service.predictor import open_predictor

    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    resolved = model.resolve()
    models = resolved.parent.parent if version is not None else resolved.parent
    given = {
        "graph": graph,
        "models": models,
        "embeddings": embeddings,
        "default_model": name,
        "allow_modules": allow_modules,
        "compute_threads": threads,
    }
    return open_predictor(graph, models, embeddings, read_settings(given), name)


def _in_parts(answers: Any, ids: list[int | str]) -> tuple[dict[str, Any], list[Entry]]:
    """What the answers say of themselves, and all entries in order."""
    rows: list[Entry] = []
    with Progress("nodes") as progress:
        for start in range(0, len(ids), IDS_PER_PART):
            answer = answers(ids[start : start + IDS_PER_PART])
            rows += answer.predictions
            progress.update("predict", len(rows), len(ids))
    about = {
        "model": answer.model,
        "model_version": answer.model_version,
        "graph_version": answer.graph_version,
    }
    return about, rows


def _print(rows: list[Entry], output_format: str) -> None:
    if output_format == "jsonl":
        for row in rows:
            print(json_module.dumps(row, ensure_ascii=False))
    else:
        _write_csv(sys.stdout, rows)


def _write(path: Path, rows: list[Entry]) -> None:
    """Write all rows and rename the file to its place."""
    with _replacing(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, rows)
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                _write_csv(file, rows)
            else:
                file.writelines(json_module.dumps(r, ensure_ascii=False) + "\n" for r in rows)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        with naming(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_csv(file: Any, rows: list[Entry]) -> None:
    """One column per key; a nested key becomes `probabilities.fraud`, a list `embedding.0`."""
    flat = [_flat(row) for row in rows]
    writer = csv.DictWriter(file, _keys(flat), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)


def _flat(entry: Entry) -> Entry:
    row: Entry = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            row |= {f"{key}.{name}": item for name, item in value.items()}
        elif isinstance(value, list):
            row |= {f"{key}.{i}": item for i, item in enumerate(value)}
        else:
            row[key] = value
    return row


def _write_parquet(path: Path, rows: list[Entry]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {key: _one_type([row.get(key) for row in rows]) for key in _keys(rows)}
    pq.write_table(pa.table(columns), path)


def _one_type(values: list[Any]) -> list[Any]:
    """Text where some values are: an unknown id may be text in a graph of integer ids."""
    if not any(isinstance(value, str) for value in values):
        return values
    return [value if value is None else str(value) for value in values]


def _keys(rows: list[Entry]) -> list[str]:
    """Keys of all rows in the order they are first seen; an unknown node has fewer than others."""
    return list(dict.fromkeys(key for row in rows for key in row)) or ["node"]
