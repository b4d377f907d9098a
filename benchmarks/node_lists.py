"""A list of nodes per type for edges between types: `python benchmarks/node_lists.py EDGES OUT …`.

    python benchmarks/node_lists.py gowalla/edges.parquet gowalla_nodes user item

writes gowalla_nodes/user.csv and item.csv with the distinct values of these columns.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq


def main(edges: Path, out: Path, columns: list[str]) -> None:
    table = pq.read_table(edges, columns=columns)
    out.mkdir(parents=True, exist_ok=True)
    for name in columns:
        ids = pc.unique(table[name]).sort()
        csv.write_csv(pa.table({"id": ids}), out / f"{name}.csv")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
