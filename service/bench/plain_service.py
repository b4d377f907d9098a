"""The service that a team would write in an afternoon: FastAPI, DGL, one endpoint.

It is the peer of `gnn bench serve`: the graph is DGL's finished CSC with int64 nodes, rows and
weights are mapped, a request is sampled by `dgl.dataloading.NeighborSampler` and computed by
`dgl.nn.SAGEConv` in FastAPI's pool of threads. A sampler is kept per thread, since DGL's fused
sampling is fast but not for several threads at once. Shipped means the pool and the threads that
FastAPI and torch have by themselves; tuned means as many requests at once as there are cores, one
thread of torch's and of DGL's for each, which was the fastest of what was tried.

    python -m service.bench.plain_service GRAPH MODEL FANOUTS shipped|tuned
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import torch
from fastapi import FastAPI
from torch import Tensor, nn

from gnn import load_model
from sampling import GraphStore
from service.bench.dgl_peer import import_dgl
from service.bench.plain_http import PredictRequest, PredictResponse, answer_of, serve_plainly

__all__ = ["PlainModel", "create_plain_app"]

FEATURES = "features.npy"


class PlainModel(nn.Module):
    """Two or more of DGL's SAGEConv with means, relu between them, and the saved weights.

    Args:
        model: ours, whose weights are taken: GraphSAGE with a linear head.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        dgl: Any = import_dgl()
        self.layers = nn.ModuleList()
        for conv in model.convs:
            own, neighbors = conv.own, conv.neighbors
            layer = dgl.nn.SAGEConv(own.in_features, own.out_features, "mean")
            layer.fc_self.weight, layer.fc_neigh.weight = own.weight, neighbors.weight
            layer.fc_self.bias = own.bias
            self.layers.append(layer)
        self.head = model.project

    def forward(self, blocks: Any, x: Tensor) -> Tensor:
        """Probabilities of the seeds."""
        for i, (layer, block) in enumerate(zip(self.layers, blocks, strict=True)):
            x = layer(block, x)
            if i + 1 < len(self.layers):
                x = torch.relu(x)
        return torch.softmax(self.head(x), dim=1)


def create_plain_app(graph: Path, model: Path, fanouts: list[int], tuned: bool = False) -> FastAPI:
    """One endpoint over these directories."""
    dgl: Any = import_dgl()
    if tuned:
        torch.set_num_threads(1)
    data, saved = GraphStore.open(graph), load_model(model)
    no_ids = torch.empty(0, dtype=torch.int64)
    csc = [torch.from_numpy(a.astype(np.int64)) for a in (data.graph.indptr, data.graph.indices)]
    network = dgl.graph(("csc", (*csc, no_ids)), num_nodes=data.graph.num_nodes)
    rows = torch.from_numpy(np.load(graph / FEATURES, mmap_mode="c"))
    plain = PlainModel(saved.model).eval()
    classes, local = saved.info.classes or [], threading.local()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if tuned:
            limiter = anyio.to_thread.current_default_thread_limiter()
            limiter.total_tokens = os.cpu_count() or 1
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/nodes/predict", response_model=PredictResponse)
    def predict(request: PredictRequest) -> dict[str, Any]:
        if not hasattr(local, "sampler"):
            local.sampler = dgl.dataloading.NeighborSampler(fanouts)
            if tuned:
                dgl.utils.set_num_threads(1)
        seeds, pick = torch.unique(torch.tensor(request.nodes), return_inverse=True)
        with torch.inference_mode():
            inputs, _, blocks = local.sampler.sample(network, seeds)
            found = plain(blocks, rows[inputs])[pick]
        return answer_of(request.nodes, found.numpy(), classes)

    return app


if __name__ == "__main__":
    FANOUTS = [int(k) for k in sys.argv[3].split(",")]
    TUNED = sys.argv[4] == "tuned"
    serve_plainly(create_plain_app(Path(sys.argv[1]), Path(sys.argv[2]), FANOUTS, TUNED))
