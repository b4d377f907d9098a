"""One picture of saved benchmark results: bars of ours and of peers, on one logarithmic scale.

    gnn bench sampling --json > sampling.json
    gnn bench gather --json > gather.json
    python benchmarks/plot.py picture.svg sampling.json gather.json

Each file holds the JSON of a run on its last line. Bars are relative to ours, so that equal
lengths mean equal ratios in every row; the rates stand beside them. Colors are readable on a light
and on a dark page; the background is left out. Needs matplotlib: `pip install --group bench`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

INK = "#8a8f98"
OURS = "#e8590c"
PEERS = ["#4c8fd6", "#7a6fd0", "#2f9e8f", "#b08968", "#c2649a", "#7f8c5a", "#5b7a99"]
BAR_INCHES, GAP_INCHES, WIDTH_INCHES = 0.2, 0.5, 8.0


def read_rows(paths: list[Path]) -> list[dict[str, Any]]:
    """The rows of all results, in order."""
    return [
        row
        for path in paths
        for row in json.loads(path.read_text().strip().splitlines()[-1])["rows"]
    ]


def bars(row: dict[str, Any]) -> list[tuple[str, float]]:
    """Ours and the peers, fastest peer first."""
    peers = {name: peer["value"] for name, peer in row["peers"].items()}
    return [("ours", row["ours"]), *sorted(peers.items(), key=lambda item: -item[1])]


def short(value: float) -> str:
    """A rate in few characters, as in 4.1 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Write the picture in the format that the name of `out` ends with."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        sys.exit("plot: matplotlib is not installed; run `pip install --group bench`")
    plt.rcParams.update({"text.color": INK, "svg.fonttype": "none", "font.size": 9})
    heights = [len(bars(row)) * BAR_INCHES + GAP_INCHES for row in rows]
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(WIDTH_INCHES, sum(heights)), squeeze=False,
        gridspec_kw={"height_ratios": heights}, layout="constrained",
    )  # fmt: skip
    ratios = [value / row["ours"] for row in rows for _, value in bars(row)]
    colors: dict[str, str] = {"ours": OURS}
    for axis, row in zip(axes[:, 0], rows, strict=True):
        draw_row(axis, row, colors)
        axis.set_xlim(min(ratios) / 2, max(ratios) * 4)
    figure.savefig(out, transparent=True, dpi=150, bbox_inches="tight")


def draw_row(axis: Any, row: dict[str, Any], colors: dict[str, str]) -> None:
    """One work: a bar for each contender, with its rate and how many times faster ours is."""
    contenders = bars(row)
    for name, _ in contenders:
        colors.setdefault(name, PEERS[(len(colors) - 1) % len(PEERS)])
    names = [name for name, _ in contenders]
    ratios = [value / row["ours"] for _, value in contenders]
    axis.barh(names, ratios, color=[colors[name] for name in names], height=0.78)
    for place, (name, value) in enumerate(contenders):
        times = "" if name == "ours" else f"   ours {row['ours'] / value:.1f}×"
        axis.annotate(f" {short(value)}{times}", (ratios[place], place), va="center", fontsize=8)
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.set_title(title(row), loc="left", fontsize=9, color=INK)
    axis.tick_params(colors=INK, length=0)
    axis.minorticks_off()
    axis.xaxis.set_visible(False)
    for side in axis.spines.values():
        side.set_visible(False)


def title(row: dict[str, Any]) -> str:
    """The work in words, large numbers shortened, and the unit."""
    work = re.sub(r"\d{5,}", lambda found: short(int(found[0])), row["work"])
    return f"{work}  [{row['unit']}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="picture to write: .svg, .png or .pdf")
    parser.add_argument("results", type=Path, nargs="+", help="saved output of gnn bench --json")
    parser.add_argument("--only", default="", help="rows whose work has this regular expression")
    given = parser.parse_args()
    rows = [row for row in read_rows(given.results) if re.search(given.only, row["work"])]
    if not rows:
        parser.error(f"no row of {', '.join(map(str, given.results))} has {given.only!r}")
    draw(rows, given.out)


if __name__ == "__main__":
    main()
