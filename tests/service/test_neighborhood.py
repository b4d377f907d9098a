"""Neighborhoods that are shown are those that predictions read; missing maps are refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from world import World

from service.errors import LimitError, NoMapError, NoTableError
from service.maps import ON_DEMAND_ROWS, Maps
from service.neighborhood import Neighborhood, neighborhood_of
from service.predictor import Predictor, open_predictor
from service.side import SideWork

MANY = 10_000


@pytest.fixture(scope="module")
def predictor(world: World) -> Predictor:
    return open_predictor(world.graph, world.models, world.embeddings, world.settings())


def edges_of(found: Neighborhood) -> set[tuple[int, int, int]]:
    ends = (found.nodes[found.src], found.nodes[found.dst], found.layers)
    return set(zip(*(column.tolist() for column in ends), strict=True))


@pytest.mark.parametrize("mode", ["sampled", "exact"])
@pytest.mark.parametrize("node", [0, 7, 900])
def test_the_edges_are_those_of_the_blocks_that_a_prediction_reads(
    predictor: Predictor, node: int, mode: str
):
    model = predictor.registry.get("default")
    found = neighborhood_of(predictor.data, model, node, mode, 3, MANY, 10**9)
    blocks = (model.sampled if mode == "sampled" else model.exact).sample(np.array([node]), 3)
    read = set()
    for layer, block in enumerate(blocks, 1):
        if block.received is not None:  # reduced while it was drawn, and not listed there
            continue
        dst = np.repeat(block.dst_nodes.numpy(), np.diff(block.indptr.numpy()))
        src = block.src_nodes.numpy()[block.indices.numpy()]
        read |= {(int(a), int(b), layer) for a, b in zip(src, dst, strict=True)}
    listed = {layer for *_, layer in read}
    shown = {edge for edge in edges_of(found) if edge[2] in listed}
    assert read
    assert shown == read
    assert found.num_edges == sum(block.num_edges for block in blocks)
    assert found.nodes[0] == node
    assert found.hops[0] == 0
    assert (found.hops[found.src] <= found.hops[found.dst] + 1).all()


def test_all_neighbors_are_all_edges_of_the_graph(predictor: Predictor):
    model, graph = predictor.registry.get("default"), predictor.data.graph
    found = neighborhood_of(predictor.data, model, 9, "exact", 0, MANY, 10**9)
    near = {a for a, b, layer in edges_of(found) if b == 9 and layer == 2}
    assert near == set(graph.in_neighbors(9).tolist())


@pytest.mark.parametrize("limit", [1, 4, 9])
def test_a_limit_keeps_the_nearest_edges(predictor: Predictor, limit: int):
    model = predictor.registry.get("default")
    whole = neighborhood_of(predictor.data, model, 7, "sampled", 0, MANY, 10**9)
    some = neighborhood_of(predictor.data, model, 7, "sampled", 0, limit, 10**9)
    assert len(some.src) == limit < len(whole.src)
    assert some.num_edges == whole.num_edges
    pairs = (whole.nodes[whole.src[:limit]], some.nodes[some.src])
    assert np.array_equal(*pairs)


def test_a_neighborhood_that_is_too_large_is_refused(predictor: Predictor):
    model = predictor.registry.get("default")
    with pytest.raises(LimitError, match="mode exact"):
        neighborhood_of(predictor.data, model, 0, "exact", 0, MANY, 100)


def test_a_map_is_made_once_and_refused_for_large_tables(predictor: Predictor):
    model, maps = predictor.registry.get("default"), Maps(SideWork("side", 1, 4))

    async def ask() -> None:
        first, second = await asyncio.gather(maps.get(model), maps.get(model))
        assert first is second is await maps.get(model)
        assert not first.stored
        assert first.place_of(7) == 7
        with pytest.raises(NoTableError):
            await maps.get(replace(model, table=None))
        large = replace(model.table, embeddings=np.zeros((ON_DEMAND_ROWS + 1, 1), np.float32))
        with pytest.raises(NoMapError):
            await maps.get(replace(model, table=large))

    asyncio.run(ask())
