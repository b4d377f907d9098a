"""Molecules as graphs: atoms and bonds with the integer features of the Open Graph Benchmark.

Nine columns per atom and three per bond, each a code into a list of what is possible, the last
place for anything else (Hu et al.: Open Graph Benchmark, 2020). RDKit reads the SMILES; it is an
optional package (`pip install 'gnn-service[molecules]'`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sampling.errors import InputError, MissingPackageError

__all__ = [
    "ATOM_CARDINALITIES",
    "ATOM_COLUMNS",
    "BOND_CARDINALITIES",
    "BOND_COLUMNS",
    "Molecule",
    "chemistry",
    "embed_positions",
    "read_molecule",
    "scaffold_of",
]

MAX_SMILES = 20_000
Choices = Sequence[Any]
Column = tuple[str, Callable[[Any], Any], Choices, bool]

ATOMS: tuple[Column, ...] = (
    ("atomic_num", lambda a: a.GetAtomicNum(), range(1, 119), True),
    ("chirality", lambda a: str(a.GetChiralTag()),
     ("CHI_UNSPECIFIED", "CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW", "CHI_OTHER"), True),
    ("degree", lambda a: a.GetTotalDegree(), range(11), True),
    ("formal_charge", lambda a: a.GetFormalCharge(), range(-5, 6), True),
    ("num_h", lambda a: a.GetTotalNumHs(), range(9), True),
    ("num_radical", lambda a: a.GetNumRadicalElectrons(), range(5), True),
    ("hybridization", lambda a: str(a.GetHybridization()),
     ("SP", "SP2", "SP3", "SP3D", "SP3D2"), True),
    ("aromatic", lambda a: a.GetIsAromatic(), (False, True), False),
    ("in_ring", lambda a: a.IsInRing(), (False, True), False),
)  # fmt: skip
BONDS: tuple[Column, ...] = (
    ("bond_type", lambda b: str(b.GetBondType()), ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC"), True),
    ("stereo", lambda b: str(b.GetStereo()),
     ("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS", "STEREOANY"), False),
    ("conjugated", lambda b: b.GetIsConjugated(), (False, True), False),
)  # fmt: skip


def _cardinalities(columns: Sequence[Column]) -> tuple[int, ...]:
    return tuple(len(choices) + others for _, _, choices, others in columns)


ATOM_COLUMNS = tuple(name for name, *_ in ATOMS)
BOND_COLUMNS = tuple(name for name, *_ in BONDS)
ATOM_CARDINALITIES = _cardinalities(ATOMS)
BOND_CARDINALITIES = _cardinalities(BONDS)
_PLACES = {name: {v: i for i, v in enumerate(choices)} for name, _, choices, _ in (*ATOMS, *BONDS)}


@dataclass(frozen=True, slots=True)
class Molecule:
    """A molecule as arrays.

    Attributes:
        atoms: (num_atoms, 9) codes.
        ends: (num_bonds, 2) atoms of every bond, each bond once.
        bonds: (num_bonds, 3) codes.
    """

    atoms: NDArray[np.int16]
    ends: NDArray[np.int64]
    bonds: NDArray[np.int16]


def chemistry() -> Any:
    """The package `rdkit.Chem`.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from rdkit import Chem
    except (ImportError, OSError) as error:
        remedy = "molecules need it: pip install 'gnn-service[molecules]'"
        raise MissingPackageError("rdkit", error, remedy) from None
    return Chem


def read_molecule(smiles: str) -> tuple[Any, Molecule]:
    """RDKit's molecule of a SMILES, and its arrays.

    Raises:
        InputError: the text is no molecule.
        MissingPackageError: RDKit is not installed.
    """
    chem = chemistry()
    from rdkit import rdBase

    if len(smiles) > MAX_SMILES:
        raise InputError(f"a SMILES of {len(smiles)} characters is longer than {MAX_SMILES}")
    with rdBase.BlockLogs():
        molecule = chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise InputError(f"{smiles[:80]!r} is no molecule that RDKit can read; correct the SMILES")
    bonds = list(molecule.GetBonds())
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]
    return molecule, Molecule(
        _codes(molecule.GetAtoms(), ATOMS),
        np.array(ends, np.int64).reshape(len(ends), 2),
        _codes(bonds, BONDS),
    )


def _codes(things: Any, columns: Sequence[Column]) -> NDArray[np.int16]:
    rows = [
        [_code(name, read(thing), choices, others) for name, read, choices, others in columns]
        for thing in things
    ]
    return np.array(rows, np.int16).reshape(len(rows), len(columns))


def _code(name: str, value: Any, choices: Choices, others: bool) -> int:
    place = _PLACES[name].get(value)
    if place is not None:
        return place
    if not others:
        raise InputError(f"a bond or atom has {name} {value!r}, which has no code")
    return len(choices)


def embed_positions(molecule: Any, seed: int) -> NDArray[np.float32]:
    """Places of the atoms in space in Å, (num_atoms, 3), by ETKDG (Riniker, Landrum 2015).

    Hydrogens take part and are left out again.

    Raises:
        InputError: no embedding was found.
    """
    chem = chemistry()
    from rdkit import rdBase

    embedding: Any = import_module("rdkit.Chem.AllChem")
    full = chem.AddHs(molecule)
    settings = embedding.ETKDGv3()
    settings.randomSeed = seed & 0x7FFFFFFF
    with rdBase.BlockLogs():
        found = embedding.EmbedMolecule(full, settings)
        if found < 0:
            settings.useRandomCoords = True
            found = embedding.EmbedMolecule(full, settings)
    if found < 0:
        raise InputError("the molecule cannot be embedded in space; leave --positions out")
    places: NDArray[np.float64] = full.GetConformer().GetPositions()
    return places[: molecule.GetNumAtoms()].astype(np.float32)


def scaffold_of(molecule: Any) -> str:
    """The Bemis-Murcko scaffold as a canonical SMILES; empty without rings."""
    scaffolds: Any = import_module("rdkit.Chem.Scaffolds.MurckoScaffold")
    return str(scaffolds.MurckoScaffoldSmiles(mol=molecule, includeChirality=False))
