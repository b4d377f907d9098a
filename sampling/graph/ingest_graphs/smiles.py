"""Molecules from a table with a column of SMILES, and of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import InputError, MissingPackageError, ParseError
from sampling.graph.ingest_graphs.config import IngestGraphsConfig
from sampling.graph.ingest_graphs.molecules import (
    ATOM_CARDINALITIES,
    ATOM_COLUMNS,
    BOND_CARDINALITIES,
    BOND_COLUMNS,
    Molecule,
    chemistry,
    embed_positions,
    read_molecule,
    scaffold_of,
)
from sampling.graph.ingest_graphs.raw import Columns, RawGraphs, Reading
from sampling.graph.ingest_graphs.tables import graph_columns
from sampling.graph.ingest_graphs.tabular import FIRST_ROW, Table

__all__ = ["read_smiles"]

REPORT_EVERY = 500


class _Gathered:
    """Molecules as they come."""

    def __init__(self) -> None:
        self.molecules: list[Molecule] = []
        self.positions: list[NDArray[np.float32]] = []
        self.scaffolds: list[str] = []
        self.rows: list[int] = []


def read_smiles(config: IngestGraphsConfig) -> Reading:
    """Molecules from a CSV, TSV or Parquet file.

    Raises:
        ParseError: a SMILES is no molecule (unless `on_error` is "skip"), or a column is wrong.
        MissingPackageError: RDKit is not installed.
    """
    chemistry()
    name = config.columns.get("smiles", "smiles")
    table = Table(Path(config.files[0]), text=[name, config.columns.get("split", "split")])
    texts = table.column(name, "--smiles").to_pylist()
    gathered = _Gathered()
    for row, text in enumerate(texts):
        try:
            _add(gathered, row, _text(text), config)
        except MissingPackageError:
            raise
        except InputError as error:
            if config.on_error != "skip":
                raise ParseError(table.path, f"column {name!r}: {error}", row + FIRST_ROW) from None
        if row % REPORT_EVERY == 0:
            yield row
    if len(gathered.rows) < len(texts):
        table.keep(np.array(gathered.rows, np.int64))
    raw, _ = graph_columns(table, config)
    raw.skipped = len(texts) - len(gathered.rows)
    if gathered.rows:
        _fill(raw, gathered)
    return raw


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError("it is empty; every row needs a SMILES")
    return value.strip()


def _add(gathered: _Gathered, row: int, text: str, config: IngestGraphsConfig) -> None:
    molecule, arrays = read_molecule(text)
    if config.positions:
        gathered.positions.append(embed_positions(molecule, config.seed))
    if config.split_kind == "scaffold":
        gathered.scaffolds.append(scaffold_of(molecule))
    gathered.molecules.append(arrays)
    gathered.rows.append(row)


def _fill(raw: RawGraphs, gathered: _Gathered) -> None:
    parts = gathered.molecules
    raw.sizes = np.array([len(part.atoms) for part in parts], np.int64)
    shifts = np.repeat(raw.offsets[:-1], [len(part.ends) for part in parts])
    begin, end = (np.concatenate([part.ends for part in parts]) + shifts[:, None]).T
    raw.src, raw.dst = np.concatenate([begin, end]), np.concatenate([end, begin])
    atoms = np.concatenate([part.atoms for part in parts]).astype(np.float32)
    bonds = np.concatenate([part.bonds for part in parts]).astype(np.float32)
    raw.node_features = Columns(atoms, ATOM_COLUMNS, ATOM_CARDINALITIES)
    raw.edge_features = Columns(np.concatenate([bonds, bonds]), BOND_COLUMNS, BOND_CARDINALITIES)
    raw.scaffolds = gathered.scaffolds
    if gathered.positions:
        raw.positions = np.concatenate(gathered.positions)
