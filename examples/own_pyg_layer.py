"""Train, embed and serve a PyG layer of your own: `python examples/own_pyg_layer.py FOLDER`.

`make_conv` is all that is yours. The file is both the program and the module `own_pyg_layer` that
the model names, so it is run from its own directory or with that on PYTHONPATH.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from gnn.bridges.convs import PyGConv
from sampling import Dataset, Graph, GraphStore


class GatedSum(nn.Module):
    """What a neighbor says, as far as the receiver's gate lets it through."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.own, self.said, self.gate = (nn.Linear(d_in, d_out) for _ in range(3))

    def forward(self, x: tuple[Tensor, Tensor], edge_index: Tensor) -> Tensor:
        src, dst = edge_index
        said = self.said(x[0])[src] * torch.sigmoid(self.gate(x[1]))[dst]
        return self.own(x[1]).index_add(0, dst, said)


def make_conv(config: ModelConfig, at: Any) -> PyGConv:
    """One layer; the last one gives rows of width `at.d_out`, too."""
    return PyGConv(GatedSum(at.d_in, at.d_out), at.d_out)


def small_graph() -> Dataset:
    """Two groups of nodes, edges mostly inside them, features that say little by themselves."""
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(300) % 2
    src = torch.randint(0, 300, (3000,), generator=draw)
    hop = 2 * torch.randint(0, 150, (3000,), generator=draw)
    stray = (torch.rand(3000, generator=draw) < 0.1).long()
    dst = (src + hop + stray) % 300
    x = torch.randn(300, 8, generator=draw) + 0.3 * label[:, None]
    part = torch.randint(1, 4, (300,), generator=draw).to(torch.uint8)
    graph = Graph.from_edges(src, dst, num_nodes=300)
    return Dataset.in_memory(graph, features=x.numpy(), labels=label.numpy(), splits=part.numpy())


def main(folder: Path) -> float:
    """Everything that `gnn train`, `gnn embed` and `gnn serve` do; returns the test accuracy."""
    GraphStore.write(folder / "graph", small_graph(), overwrite=True)
    data = GraphStore.open(folder / "graph")
    torch.manual_seed(0)
    config = ModelConfig(conv="module:own_pyg_layer:make_conv", d_in=8, d_hidden=16, d_out=2)
    model, settings = build_model(config), TrainConfig(epochs=10, fanouts=(10, 10), batch_size=64)
    for report in train(model, data, settings):
        print(report.epoch, round(report.loss, 3))
    metrics = evaluate(model, data, "test")
    path = save_model(folder / "models" / "mine", model, data, settings, {"test": metrics})
    saved = load_model(path, allow_modules=["own_pyg_layer"])
    for _ in embed(saved, data, folder / "embeddings", predictions=True, overwrite=True):
        pass
    print(f"gnn serve --graph {folder}/graph --models {folder}/models", end=" ")
    print("--allow-modules own_pyg_layer")
    return metrics["accuracy"]


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
