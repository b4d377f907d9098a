"""From a PyG data set to a served graph: `python examples/from_pyg_dataset.py FOLDER`.

PyG's `FakeHeteroDataset` stands for your own; any `Data` or `HeteroData` does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch_geometric.datasets import FakeHeteroDataset
from torch_geometric.transforms import RandomNodeSplit

from gnn import ModelConfig, TrainConfig, build_model, evaluate, save_model, train
from gnn.bridges.pyg import dataset_from_pyg, pyg_input_types
from sampling import GraphStore


def main(folder: Path) -> float:
    """Convert, train, save; returns the test accuracy."""
    torch.manual_seed(0)
    hetero = FakeHeteroDataset(avg_num_nodes=200, num_classes=3)[0]
    hetero = RandomNodeSplit(num_val=0.2, num_test=0.2)(hetero)
    GraphStore.write(folder / "graph", dataset_from_pyg(hetero, name="fake"), overwrite=True)
    data = GraphStore.open(folder / "graph")
    config = ModelConfig(
        conv="rgcn",
        d_in=data.meta.feature_dim,
        d_hidden=16,
        d_out=3,
        dropout=0.0,
        encoder="typed",
        input_types=pyg_input_types(hetero),
        num_relations=len(data.graph.edge_types),
    )
    model, settings = build_model(config), TrainConfig(epochs=20)
    for report in train(model, data, settings):
        print(report.epoch, round(report.loss, 3))
    metrics = evaluate(model, data, "test")
    save_model(folder / "models" / "fake", model, data, settings, {"test": metrics})
    print(f"gnn serve --graph {folder}/graph --models {folder}/models")
    return metrics["accuracy"]


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
