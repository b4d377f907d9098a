"""The user's own layers of PyG, DGL and torch: one answer however the graph is cut, or refused."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import dgl
import numpy as np
import pytest
import torch
from torch import nn

from gnn import ModelConfig, TrainConfig, build_model, load_model, save_model, train
from gnn.architecture import architecture_for
from gnn.bridges.convs import DGLConv, PyGConv, destinations_first
from gnn.bridges.pyg import to_pyg, to_pyg_layers
from gnn.brought import check_allowed, factory_of
from gnn.conv.gat import GATConv
from gnn.conv.gcn import GCNConv
from gnn.conv.sage import SAGEConv
from gnn.errors import ModuleNotAllowedError, UserModuleError
from gnn.layerwise import infer
from gnn.model import GNN
from gnn.recipes import recipe_for
from sampling import Dataset, FullNeighborSampler, Graph, GraphCollection, NeighborSampler
from sampling.errors import InputError

CONVS = """
    from gnn.bridges.convs import DGLConv, PyGConv

    def sage(config, at):
        from torch_geometric.nn import SAGEConv
        return PyGConv(SAGEConv(at.d_in, at.d_out), at.d_out)

    def gat(config, at):
        from torch_geometric.nn import GATConv
        return PyGConv(GATConv((at.d_in, at.d_in), at.d_out // 2, heads=2), at.d_out)

    def edges(config, at):
        from torch_geometric.nn import TransformerConv
        conv = TransformerConv((at.d_in, at.d_in), at.d_out, edge_dim=config.d_edge)
        return PyGConv(conv, at.d_out, reads={"edge_attr": "features"})

    def typed(config, at):
        from torch_geometric.nn import RGCNConv
        conv = RGCNConv((at.d_in, at.d_in), at.d_out, config.num_relations)
        return PyGConv(conv, at.d_out, reads={"edge_type": "type"})

    def dgl_sage(config, at):
        import dgl
        return DGLConv(dgl.nn.SAGEConv(at.d_in, at.d_out, "mean"), at.d_out)

    def dgl_gat(config, at):
        import dgl
        conv = dgl.nn.GATConv(at.d_in, at.d_out // 2, 2, allow_zero_in_degree=True)
        return DGLConv(conv, at.d_out)

    def weighted(config, at):
        import dgl
        conv = dgl.nn.SAGEConv(at.d_in, at.d_out, "mean")
        return DGLConv(conv, at.d_out, reads={"edge_weight": "weight"})
"""
NAMES = ["sage", "gat", "edges", "typed", "dgl_sage", "dgl_gat", "weighted"]


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch, pyg) -> Path:
    """A working directory of a user's; what is imported from it is forgotten afterwards."""
    folder, before = tmp_path / "work", set(sys.modules)
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("my_models", "own_models", "models", "m", "sub"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def pyg():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch_geometric.nn
    return torch_geometric.nn


def rich_data(seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    graph = Graph.from_edges(
        *rng.integers(0, 58, (2, 240)),
        num_nodes=60,
        edge_type=rng.integers(0, 3, 240),
        edge_weight=rng.random(240),
        edge_features=rng.normal(size=(240, 2)),
    )
    x = rng.normal(size=(60, 6)).astype(np.float32)
    labels, splits = x[:, :2].argmax(axis=1), rng.choice([1, 1, 2, 3], 60).astype(np.uint8)
    return Dataset.in_memory(graph, features=x, labels=labels, splits=splits)


def shapes(count: int) -> GraphCollection:
    """Small graphs of two classes, which differ in their mean feature."""
    rng, parts = np.random.default_rng(3), []
    for g in range(count):
        n = int(rng.integers(3, 8))
        x = rng.normal(size=(n, 6)).astype(np.float32) + g % 2
        parts.append(
            Dataset.in_memory(
                Graph.from_edges(*rng.integers(0, n, (2, 12)), num_nodes=n), features=x
            )
        )
    return GraphCollection.from_graphs(parts, labels=np.arange(count) % 2, classes=["a", "b"])


def write(folder: Path, text: str, name: str = "my_models") -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


def model_of(function: str, seed: int = 0, **changes) -> GNN:
    torch.manual_seed(seed)
    given = {"d_in": 6, "d_hidden": 8, "d_out": 2, "d_edge": 2, "num_relations": 3, **changes}
    return build_model(ModelConfig(conv=f"module:my_models:{function}", **given))


def whole(model: GNN, data: Dataset) -> torch.Tensor:
    with torch.no_grad():
        return model.encode([data.graph.block()] * 2, data.features.rows(0, 60))


@pytest.mark.parametrize("function", NAMES)
def test_an_own_layer_gives_one_answer_however_the_graph_is_cut(modules, function, monkeypatch):
    write(modules, CONVS)
    data, model = rich_data(), model_of(function)
    expected = whole(model, data)
    monkeypatch.setattr("gnn.layerwise.tile_rows_for", lambda model: 17)
    torch.testing.assert_close(infer(model, data), expected, rtol=1e-5, atol=1e-5)
    seeds = torch.tensor([3, 59, 20, 3])
    blocks = FullNeighborSampler(data.graph, 2).sample(seeds)
    with torch.no_grad():
        rows = model.encode(blocks, data.features.gather(blocks[0].src_nodes))
    torch.testing.assert_close(rows, expected[seeds], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", ["sage", "gat", "dgl_sage"])
def test_an_own_layer_is_trained_saved_and_read_back(modules, tmp_path, function):
    write(modules, CONVS)
    data, model = rich_data(), model_of(function, dropout=0.0)
    losses = [r.loss for r in train(model, data, TrainConfig(epochs=15, fanouts=(5, 5), lr=0.02))]
    assert losses[-1] < 0.8 * losses[0]
    path = save_model(tmp_path / "models" / "m", model, data, TrainConfig(), {})
    before = torch.random.get_rng_state()
    saved = load_model(path, ["my_models"])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(whole(saved.model, data), whole(model.eval(), data))


def test_the_same_weights_give_what_our_own_layers_give(make_data, pyg):
    data = make_data()
    x, block = data.features.rows(0, 60), data.graph.block()
    ours, theirs = SAGEConv(6, 5), pyg.SAGEConv(6, 5)
    theirs.lin_r.load_state_dict({"weight": ours.own.weight.detach()})
    theirs.lin_l.load_state_dict({"weight": ours.neighbors.weight.detach(), "bias": ours.own.bias})
    torch.testing.assert_close(PyGConv(theirs, 5)(block, x), ours(block, x), rtol=1e-5, atol=1e-5)
    gat, peer = GATConv(6, 5), pyg.GATConv(6, 5)
    peer.lin.load_state_dict({"weight": gat.linear.weight.detach()})
    with torch.no_grad():
        peer.att_src.copy_(gat.src_attention.view(1, 1, 5))
        peer.att_dst.copy_(gat.dst_attention.view(1, 1, 5))
    for start, end in ((0, 60), (20, 45)):
        tile = data.graph.block(start, end)
        expected = gat(tile, x)
        pair = PyGConv(Pair(peer), 5)
        torch.testing.assert_close(pair(tile, x), expected, rtol=1e-5, atol=1e-5)


class Pair(nn.Module):
    """PyG's GATConv with one map for both ends, asked about destinations only."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index):
        return self.conv(x[0], edge_index)[: len(x[1])]


def test_destinations_come_first_and_no_edge_is_lost(make_data):
    data = make_data()
    x = data.features.rows(0, 60)
    for start, end in ((0, 60), (0, 7), (20, 31), (58, 60)):
        tile = data.graph.block(start, end)
        hop, rows = destinations_first(tile, x)
        assert torch.equal(hop.src_nodes[: hop.num_dst], torch.arange(start, end))
        assert torch.equal(rows, x[hop.src_nodes])
        assert torch.equal(hop.src_nodes[hop.indices.long()], tile.indices.long())


def test_hops_for_pyg_carry_the_same_edges(make_graph):
    graph = make_graph()
    blocks = NeighborSampler(graph, [3, 2], seed=1).sample([4, 7, 4])
    for block, hop in zip(blocks, to_pyg_layers(blocks), strict=True):
        assert torch.equal(hop.edge_index[0], block.indices.long())
        counts = torch.bincount(hop.edge_index[1], minlength=block.num_dst)
        assert torch.equal(counts, block.in_degrees())
        assert hop.size == (block.num_src, block.num_dst)
        assert torch.equal(hop.dst_nodes, block.dst_nodes)
    rich = rich_data().graph
    hop = to_pyg(rich.block())
    assert torch.equal(hop.edge_attr, torch.from_numpy(rich.edge_features))
    assert hop.edge_type.tolist() == rich.edge_type.tolist()
    assert torch.equal(hop.edge_weight, torch.from_numpy(rich.edge_weight))


REFUSED = {
    "no such module": ("module:own_models:make", "", "neither in .* nor installed"),
    "no such function": ("module:my_models:make", "", "no function 'make'"),
    "an error while it is imported": ("module:my_models:make", "1 / 0", "ZeroDivisionError"),
    "an error in the function": (
        "module:my_models:make",
        "def make(config, at):\n    raise ValueError('so')",
        "ValueError: so",
    ),
    "a bare layer": (
        "module:my_models:make",
        "import torch\ndef make(config, at):\n    return torch.nn.Linear(at.d_in, at.d_out)",
        "returned Linear.*PyGConv",
    ),
    "another width": (
        "module:my_models:make",
        "from gnn.conv.sage import SAGEConv\n"
        "def make(config, at):\n    return SAGEConv(at.d_in, at.d_out + 1)",
        "width 9 in layer 1, where 8 is asked",
    ),
    "lazy widths": (
        "module:my_models:make",
        "from torch_geometric.nn import SAGEConv\nfrom gnn.bridges.convs import PyGConv\n"
        "def make(config, at):\n    return PyGConv(SAGEConv((-1, -1), at.d_out), at.d_out)",
        "without a shape",
    ),
    "tied weights": (
        "module:my_models:make",
        "from torch_geometric.nn import SAGEConv\nfrom gnn.bridges.convs import PyGConv\n"
        "def make(config, at):\n    conv = SAGEConv(at.d_in, at.d_out)\n"
        "    conv.lin_r.weight = conv.lin_l.weight\n    return PyGConv(conv, at.d_out)",
        "shares memory",
    ),
    "rows that depend on the batch": (
        "module:my_models:make",
        "import dgl\nfrom gnn.bridges.convs import DGLConv\n"
        "def make(config, at):\n    return DGLConv(dgl.nn.GraphConv(at.d_in, at.d_out, "
        "allow_zero_in_degree=True), at.d_out)",
        "other rows in a batch",
    ),
    "nodes without in-edges": (
        "module:my_models:make",
        "import dgl\nfrom gnn.bridges.convs import DGLConv\n"
        "def make(config, at):\n    return DGLConv(dgl.nn.GATConv(at.d_in, at.d_out, 1), at.d_out)",
        "0-in-degree",
    ),
    "a layer that takes no pairs": (
        "module:my_models:make",
        "from torch_geometric.nn import GCNConv\nfrom gnn.bridges.convs import PyGConv\n"
        "def make(config, at):\n    return PyGConv(GCNConv(at.d_in, at.d_out), at.d_out)",
        "fails on a small graph in layer 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_no_layer_is_refused_before_training(modules, case):
    name, text, sentence = REFUSED[case]
    write(modules, text)
    with pytest.raises(UserModuleError, match=sentence):
        build_model(ModelConfig(conv=name, d_in=6, d_hidden=8, d_out=2))


def test_a_layer_that_reads_what_edges_lack_says_so(modules, make_data):
    write(modules, CONVS)
    data, model = make_data(), model_of("weighted", d_out=3, d_edge=0, num_relations=1)
    with pytest.raises(InputError, match="reads the weight of edges, and the edges here have none"):
        list(train(model, data, TrainConfig(epochs=1)))


@pytest.mark.parametrize(
    "name", ["module:", "module:a", "module:a:b:c", "module:a b:c", "module:../a:b", "module:a.:b",
             "module:é:b", "my_models:make", "module:" + "a" * 300 + ":b"]
)  # fmt: skip
def test_a_name_that_is_no_import_path_is_refused(name):
    with pytest.raises(InputError, match="conv is"):
        ModelConfig(conv=name, d_in=6, d_hidden=8, d_out=2)


SAYS_THAT_IT_RAN = """
    from pathlib import Path
    from gnn.conv.sage import SAGEConv
    Path("ran").touch()

    def make(config, at):
        return SAGEConv(at.d_in, at.d_out)
"""


def test_no_module_runs_for_a_model_unless_it_is_allowed_by_name(modules, tmp_path):
    write(modules, SAYS_THAT_IT_RAN)
    path = save_model(tmp_path / "models" / "m", model_of("make"), rich_data(), TrainConfig(), {})
    del sys.modules["my_models"]
    (modules / "ran").unlink()
    for allowed in ((), ["my_model"], ["my_models_too"], ["my_models.sub"], [""]):
        with pytest.raises(ModuleNotAllowedError, match="--allow-modules my_models"):
            load_model(path, allowed)
    assert not (modules / "ran").exists()
    load_model(path, ["other", "my_models"])
    assert (modules / "ran").exists()
    check_allowed("module:my_models.sub.deep:make", ["my_models.sub"], path)
    check_allowed("sage", (), path)


@pytest.mark.parametrize(
    ("place", "here", "module"),
    [
        ("models/m/my_models.py", "models/m", "my_models"),
        ("models/m/1/my_models.py", "models/m/1", "my_models"),
        ("models/m/my_models.py", "models", "m.my_models"),
        ("models/m/my_models.py", ".", "models.m.my_models"),
        ("models/m/1/sub/my_models.py", "models/m/1", "sub.my_models"),
    ],
)
def test_nothing_is_imported_from_the_directory_of_a_model(
    modules, tmp_path, monkeypatch, place, here, module
):
    write(modules, SAYS_THAT_IT_RAN)
    save_model(tmp_path / "models" / "m", model_of("make"), rich_data(), TrainConfig(), {})
    del sys.modules["my_models"]
    (tmp_path / place).parent.mkdir(exist_ok=True)
    write((tmp_path / place).parent, SAYS_THAT_IT_RAN)
    monkeypatch.chdir(tmp_path / here)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "work" not in p])
    with pytest.raises(UserModuleError, match="directory of a model"):
        factory_of(f"module:{module}:make")
    assert not (tmp_path / here / "ran").exists()


def test_a_module_inside_a_package_is_found(modules):
    (modules / "own_models").mkdir()
    write(modules / "own_models", SAYS_THAT_IT_RAN, "layers")
    model = build_model(
        ModelConfig(conv="module:own_models.layers:make", d_in=6, d_hidden=8, d_out=2)
    )
    assert [conv.d_out for conv in model.convs] == [8, 8]


def test_an_own_layer_classifies_whole_graphs(modules):
    write(modules, CONVS)
    data, own = shapes(40), "module:my_models:sage"
    recipe = recipe_for(own, data, 2, "graph-classification")
    config = architecture_for("graph-classification", data, recipe, {"d_hidden": 8})
    training = TrainConfig(task="graph-classification", epochs=3, split=(0.5, 0.25, 0.25))
    model = build_model(config)
    assert len(list(train(model, data, training))) == 3

    def answers(graphs: list[int]) -> torch.Tensor:
        batch = data.batch(graphs)
        block = replace(batch.block, graph_offsets=batch.graph_indptr)
        with torch.no_grad():
            return model.eval()([block] * 2, batch.x)

    alone = torch.cat([answers([g]) for g in (3, 0, 7)])
    torch.testing.assert_close(answers([3, 0, 7]), alone, rtol=1e-5, atol=1e-5)


def test_weights_of_other_code_are_refused(modules, tmp_path):
    write(modules, SAYS_THAT_IT_RAN)
    path = save_model(tmp_path / "models" / "m", model_of("make"), rich_data(), TrainConfig(), {})
    sys.modules["my_models"].make = lambda config, at: PyGConv(nn.Identity(), at.d_out)
    with pytest.raises(UserModuleError, match="layer 1"):
        load_model(path, ["my_models"])
    sys.modules["my_models"].make = lambda config, at: GCNConv(at.d_in, at.d_out)
    with pytest.raises(UserModuleError, match="trained with: that lacks tensor"):
        load_model(path, ["my_models"])


def test_weights_that_the_user_made_are_kept(modules):
    write(
        modules,
        """
        import torch
        from gnn.conv.sage import SAGEConv

        def make(config, at):
            conv = SAGEConv(at.d_in, at.d_out)
            torch.nn.init.constant_(conv.own.weight, 0.25)
            return conv
    """,
    )
    model = model_of("make")
    assert bool((model.convs[0].own.weight == 0.25).all())
    assert not bool((model.project.weight == 0.25).any())


def test_dgl_heads_come_out_side_by_side(make_data):
    data, layer = make_data(), dgl.nn.GATConv(6, 4, 3, allow_zero_in_degree=True)
    x = data.features.rows(0, 60)
    rows = DGLConv(layer, 12)(data.graph.block(), x)
    assert rows.shape == (60, 12)
