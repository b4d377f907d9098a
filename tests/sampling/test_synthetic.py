"""Synthetic graphs: the same bytes every time, the shape that was asked for, and learnable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sampling import GraphStore
from sampling.errors import ExistsError, InputError
from sampling.graph.ingest import IngestConfig, ingest
from sampling.graph.synthetic import GRAPH500, RmatConfig, SbmConfig, synthesize
from sampling.kernels.reference.generate import normals, rmat_pairs, scramble


def made(config: RmatConfig | SbmConfig, out: Path) -> dict[str, bytes]:
    """The files of a synthetic graph."""
    assert [r.stage for r in synthesize(config, out)][-1] == "done"
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize(
    "config",
    [
        RmatConfig(nodes=1000, edges=5000, seed=3, features=5, classes=4),
        SbmConfig(nodes=999, classes=4, seed=3, features=5),
    ],
)
def test_equal_arguments_give_equal_bytes_and_another_seed_others(
    tmp_path: Path, config: RmatConfig | SbmConfig
) -> None:
    first, again = made(config, tmp_path / "a"), made(config, tmp_path / "b")
    assert first == again
    assert first.keys() == {"edges.parquet", "nodes.parquet", "features.npy"}
    other = type(config)(**{**{f: getattr(config, f) for f in config.__slots__}, "seed": 4})
    changed = made(other, tmp_path / "c")
    assert all(first[name] != changed[name] for name in first)


@pytest.mark.parametrize("config", [RmatConfig(nodes=777, edges=9000), SbmConfig(nodes=777)])
def test_a_chunk_depends_on_nothing_but_its_place(config: RmatConfig | SbmConfig) -> None:
    whole = np.stack(config.pairs(0, 3000))
    parts = [np.stack(config.pairs(s, s + 1000)) for s in (0, 1000, 2000)]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scrambled_names_are_a_permutation(bits: int, seed: int) -> None:
    for n in range((1 << bits) // 2 + 1, (1 << bits) + 1):
        names = scramble(np.arange(n), bits, n, seed)
        assert np.array_equal(np.sort(names), np.arange(n))
        folded = scramble(np.arange(1 << bits), bits, n, seed)
        assert folded.min() >= 0 and folded.max() < n


def test_rmat_has_the_quadrants_of_graph500_before_its_names_are_scrambled() -> None:
    src, dst = rmat_pairs(10, 0, 400_000, 0, GRAPH500)
    for bit in (0, 4, 9):
        quadrant = np.bincount((src >> bit & 1) * 2 + (dst >> bit & 1), minlength=4) / len(src)
        assert np.abs(quadrant - [0.57, 0.19, 0.19, 0.05]).max() < 0.004
    assert src.max() < 1024 and dst.min() >= 0


def test_rmat_is_skewed_and_its_hubs_lie_anywhere() -> None:
    _, dst = RmatConfig(nodes=1 << 12, edges=1 << 16).pairs(0, 1 << 16)
    degrees = np.bincount(dst, minlength=1 << 12)
    assert degrees.max() > 20 * degrees.mean()
    hubs = np.argsort(degrees)[-64:]
    assert 0.25 < (hubs >= 1 << 11).mean() < 0.75
    assert abs(np.corrcoef(degrees, np.arange(1 << 12))[0, 1]) < 0.1


def test_a_planted_partition_has_the_density_that_was_asked_for(tmp_path: Path) -> None:
    config = SbmConfig(nodes=5001, classes=3, avg_degree=8, homophily=0.7)
    made(config, tmp_path / "s")
    edges = pq.read_table(tmp_path / "s/edges.parquet")
    labels = pq.read_table(tmp_path / "s/nodes.parquet")["label"].to_numpy()
    src, dst = edges["src"].to_numpy(), edges["dst"].to_numpy()
    assert len(src) == 5001 * 4 and (src != dst).all()
    assert abs((labels[src] == labels[dst]).mean() - 0.7) < 0.02
    assert np.ptp(np.bincount(labels)) <= 1
    assert np.bincount(np.concatenate([src, dst]), minlength=5001).std() < 4
    dense = SbmConfig(nodes=400, classes=4, p_in=0.2, p_out=0.01)
    degree, inside = dense.density
    assert degree == pytest.approx(0.2 * 99 + 0.01 * 300) and inside == pytest.approx(19.8 / 22.8)


def test_features_are_normal_and_say_something_of_the_class(tmp_path: Path) -> None:
    z = normals(0, 200_000, 0, 1)
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    assert np.array_equal(normals(1001, 500, 0, 1), normals(0, 2000, 0, 1)[1001:1501])
    made(SbmConfig(nodes=3000, classes=4, features=32), tmp_path / "s")
    x = np.load(tmp_path / "s/features.npy", allow_pickle=False)
    labels = pq.read_table(tmp_path / "s/nodes.parquet")["label"].to_numpy()
    centers = np.stack([x[:1500][labels[:1500] == c].mean(axis=0) for c in range(4)])
    nearest = ((x[1500:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.5 < (nearest == labels[1500:]).mean() < 1


def test_synthetic_files_are_ready_for_ingest(tmp_path: Path) -> None:
    config = RmatConfig(nodes=600, edges=4000, features=7, feature_dtype="float16", classes=3)
    made(config, tmp_path / "s")
    source = tmp_path / "s"
    *_, last = ingest(
        IngestConfig(
            edges=[source / "edges.parquet"],
            nodes=[source / "nodes.parquet"],
            features=source / "features.npy",
            out=tmp_path / "graph",
        )
    )
    data = GraphStore.open(tmp_path / "graph")
    assert last.meta == data.meta
    assert (data.graph.num_nodes, data.graph.num_edges) == (600, 4000)
    assert data.features is not None and data.features.array.shape == (600, 7)
    assert data.meta.labels is not None and data.meta.labels.classes == [0, 1, 2]
    shares = [len(data.nodes_in(part)) / 600 for part in ("train", "val", "test")]
    assert np.abs(np.array(shares) - [0.6, 0.2, 0.2]).max() < 0.06


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (RmatConfig(nodes=0, edges=5), "0 nodes"),
        (RmatConfig(nodes=5, edges=-1), "-1 edges"),
        (RmatConfig(nodes=5, edges=5, features=3, feature_dtype="int8"), "'int8'"),
        (RmatConfig(nodes=5, edges=5, classes=-1), "not negative"),
        (SbmConfig(nodes=5, classes=4), "too few"),
        (SbmConfig(nodes=50, homophily=1.5), "1.5"),
        (SbmConfig(nodes=50, classes=1, homophily=0.5), "no edges to others"),
    ],
)
def test_graphs_that_cannot_be_made_are_refused(
    tmp_path: Path, config: RmatConfig | SbmConfig, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        list(synthesize(config, tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_existing_files_are_kept(tmp_path: Path) -> None:
    made(RmatConfig(nodes=5, edges=5), tmp_path / "s")
    with pytest.raises(ExistsError):
        list(synthesize(RmatConfig(nodes=5, edges=5), tmp_path / "s"))
