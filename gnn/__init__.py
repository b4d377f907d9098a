"""Message passing, models, training and whole-graph embedding."""

from gnn.aggregate import aggregate
from gnn.certify import Certificate, certify
from gnn.checkpoint import (
    ModelInfo,
    SavedModel,
    load_model,
    model_info,
    save_model,
)
from gnn.embed import EmbedReport, embed
from gnn.embeddings import EmbeddingMeta, EmbeddingTable
from gnn.evaluate import evaluate
from gnn.model import GNN, ModelConfig, build_model
from gnn.model_paths import list_models, list_versions, model_path
from gnn.tasks import outputs
from gnn.train import EpochReport, train
from gnn.train_config import TrainConfig

__all__ = [
    "GNN",
    "Certificate",
    "EmbedReport",
    "EmbeddingMeta",
    "EmbeddingTable",
    "EpochReport",
    "ModelConfig",
    "ModelInfo",
    "SavedModel",
    "TrainConfig",
    "aggregate",
    "build_model",
    "certify",
    "embed",
    "evaluate",
    "list_models",
    "list_versions",
    "load_model",
    "model_info",
    "model_path",
    "outputs",
    "save_model",
    "train",
]
