"""Train, embed and serve a layer of a library: `python examples/library_layers.py FOLDER LAYER`.

LAYER is "gen" (GENConv of PyTorch Geometric; Li et al., DeeperGCN, 2020) or "edge_gat"
(EdgeGATConv of DGL; attention that reads edge features). The two functions at the top are all
that is written for them; each imports its own library alone. The file is both the program and the
module `library_layers` that the models name, so it is run from its own directory or with that on
PYTHONPATH.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from gnn import (
    ModelConfig,
    TrainConfig,
    build_model,
    embed,
    evaluate,
    load_model,
    save_model,
    train,
)
from gnn.bridges.convs import DGLConv, PyGConv
from sampling import Dataset, Graph, GraphStore
from service.predictor import open_predictor
from service.settings import Settings

HEADS = 2


def gen(config: ModelConfig, at: Any) -> PyGConv:
    """A softmax over what neighbors and edges say; its perceptron normalizes rows by themselves."""
    from torch_geometric.nn import GENConv

    conv = GENConv((at.d_in, at.d_in), at.d_out, edge_dim=config.d_edge, norm="layer")
    return PyGConv(conv, at.d_out, reads={"edge_attr": "features"})


def edge_gat(config: ModelConfig, at: Any) -> DGLConv:
    """Several heads side by side, so that together they are as wide as the layer."""
    from dgl.nn import EdgeGATConv

    ends = (at.d_in, at.d_in)
    conv = EdgeGATConv(ends, config.d_edge, at.d_out // HEADS, HEADS, allow_zero_in_degree=True)
    return DGLConv(conv, at.d_out, reads={"edge_feat": "features"})


def small_graph() -> Dataset:
    """Two groups of nodes; an edge's length says, not for certain, whether it joins two of one."""
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(300) % 2
    src, dst = torch.randint(0, 300, (2, 3000), generator=draw)
    apart = (label[src] != label[dst]).float()
    length = 2 * apart - 1 + 0.3 * torch.randn(3000, generator=draw)
    x = torch.randn(300, 4, generator=draw)
    x[:, 0] += 2 * label - 1
    part = torch.randint(1, 4, (300,), generator=draw).to(torch.uint8)
    graph = Graph.from_edges(src, dst, num_nodes=300, edge_features=length[:, None])
    return Dataset.in_memory(graph, features=x.numpy(), labels=label.numpy(), splits=part.numpy())


def main(folder: Path, layer: str) -> float:
    """What `gnn train`, `gnn embed` and `gnn serve` do; returns the test accuracy."""
    GraphStore.write(folder / "graph", small_graph(), overwrite=True)
    data = GraphStore.open(folder / "graph")
    torch.manual_seed(0)
    conv = f"module:library_layers:{layer}"
    config = ModelConfig(conv=conv, d_in=4, d_hidden=16, d_out=2, d_edge=1, dropout=0.2)
    model, settings = build_model(config), TrainConfig(epochs=20, fanouts=(10, 10), batch_size=64)
    for report in train(model, data, settings):
        print(report.epoch, round(report.loss, 3))
    metrics = evaluate(model, data, "test")
    path = save_model(folder / "models" / layer, model, data, settings, {"test": metrics})
    saved = load_model(path, allow_modules=["library_layers"])
    for _ in embed(saved, data, folder / "embeddings", predictions=True, overwrite=True):
        pass
    print("served, from the table and anew:", *served(folder, layer))
    return metrics["accuracy"]


def served(folder: Path, layer: str) -> list[str]:
    """What the service behind `gnn serve --allow-modules library_layers` answers for node 7."""
    settings = Settings(
        graph=folder / "graph", models=folder / "models", allow_modules="library_layers",
        default_model=layer,
    )  # fmt: skip
    with_table = open_predictor(
        folder / "graph", folder / "models", folder / "embeddings", settings
    )
    answers = [with_table.predict([7], mode=mode).predictions[0] for mode in ("table", "exact")]
    return [f"{answer['label']} ({answer['score']:.4f})" for answer in answers]


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
