"""An empty FastAPI handler with the request and answer of a prediction: the floor of the stack.

python -m service.bench.empty_service NUM_CLASSES
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from fastapi import FastAPI

from service.bench.plain_http import PredictRequest, PredictResponse, answer_of, serve_plainly

__all__ = ["create_empty_app"]


def create_empty_app(num_classes: int) -> FastAPI:
    """One endpoint that answers the same for every node, without a look at anything."""
    app, row = FastAPI(), np.full(num_classes, 1 / num_classes, np.float32)
    fixed = answer_of([0], row[None], range(num_classes))

    @app.post("/v1/nodes/predict", response_model=PredictResponse)
    async def predict(request: PredictRequest) -> dict[str, Any]:
        return fixed

    return app


if __name__ == "__main__":
    serve_plainly(create_empty_app(int(sys.argv[1])))
