"""From a PyG data set to a served graph: `python examples/from_pyg_dataset.py FOLDER`.

The data set is made up: authors have a field, papers have the field of their authors. Any `Data` or
`HeteroData` of PyG's own data sets goes the same way.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch_geometric.data import HeteroData
from torch_geometric.transforms import RandomNodeSplit

from gnn import ModelConfig, TrainConfig, build_model, evaluate, save_model, train
from gnn.bridges.pyg import dataset_from_pyg, pyg_input_types
from sampling import GraphStore


def authors_and_papers() -> HeteroData:
    """Two node types with features of different widths; papers have labels and masks."""
    data, draw = HeteroData(), torch.Generator().manual_seed(0)
    field = torch.arange(300) % 3
    data["author"].x = torch.nn.functional.one_hot(field[:90]).float()
    data["paper"].x = torch.randn(300, 8, generator=draw)
    data["paper"].y = field
    written = torch.arange(300).repeat(2)
    writers = (written + 3 * torch.randint(0, 30, (600,), generator=draw)) % 90
    data["author", "writes", "paper"].edge_index = torch.stack([writers, written])
    data["paper", "written_by", "author"].edge_index = torch.stack([written, writers])
    torch.manual_seed(0)
    return RandomNodeSplit(num_val=0.2, num_test=0.2)(data)


def main(folder: Path) -> float:
    """Convert, train, save; returns the test accuracy."""
    hetero = authors_and_papers()
    GraphStore.write(folder / "graph", dataset_from_pyg(hetero, name="papers"), overwrite=True)
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
    save_model(folder / "models" / "papers", model, data, settings, {"test": metrics})
    print(f"gnn serve --graph {folder}/graph --models {folder}/models")
    return metrics["accuracy"]


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
