"""What chooses the best epoch: each kind of data measures its own, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from kinds_made import KINDS, nodes, prepared

from gnn import train
from gnn.train import session_for
from sampling import GraphStore
from sampling.errors import InputError
from service.cli import main

MEASURED = {
    "classes": ("accuracy", "macro_f1", "micro_f1", "roc_auc", "loss"),
    "several labels": ("micro_f1", "macro_f1", "micro_f1@k", "macro_f1@k", "roc_auc",
                       "average_precision", "loss"),
    "values": ("rmse", "mae", "r2", "loss"),
    "nodes in time": ("accuracy", "macro_f1", "micro_f1", "roc_auc", "loss"),
    "graphs": ("accuracy", "macro_f1", "micro_f1", "roc_auc", "loss"),
    "values of graphs": ("rmse", "mae", "r2", "loss"),
    "pairs": ("mrr", "hits@1", "hits@10", "roc_auc", "average_precision", "loss"),
    "knowledge": ("mrr", "hits@1", "hits@10"),
    "recommendation": ("recall@20", "ndcg@20", "mrr", "hits@1", "hits@10"),
    "links in time": ("average_precision", "roc_auc", "mrr", "loss"),
    "unsupervised": ("loss", "probe_accuracy"),
}  # fmt: skip
OF_OTHERS = ("accuracy", "micro_f1@k", "rmse", "hits@10", "recall@20", "loss", "probe_accuracy")


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_the_data_can_choose_and_no_other_is_begun_with(kind: str):
    model, data, config = prepared(kind)
    assert session_for(model, data, config).monitor == KINDS[kind][3]
    for name in MEASURED[kind]:
        model, data, config = prepared(kind, monitor=name)
        (report,) = train(model, data, config)
        assert name in report.metrics["val"]
    for name in {*OF_OTHERS} - {*MEASURED[kind]}:
        with pytest.raises(InputError, match=f"monitor is {name!r}"):
            session_for(*prepared(kind, monitor=name))


def test_a_probe_needs_validation_nodes_of_a_class():
    model, data, config = prepared("unsupervised", monitor="probe_accuracy")
    unlabeled = nodes(None)
    with pytest.raises(InputError, match="choose one of loss, none"):
        session_for(model, unlabeled, config)
    with pytest.raises(InputError, match="choose one of loss, none"):
        session_for(model, data, replace(config, split=(0.8, 0.0, 0.2)))


def test_links_in_time_without_hits_are_one_sentence_before_the_first_epoch(tmp_path: Path, capsys):
    GraphStore.write(tmp_path / "graph", KINDS["links in time"][0]())
    arguments = ["train", tmp_path / "graph", "--out", tmp_path / "m", "--task", "link-prediction",
                 "--temporal", "--monitor", "hits@10"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert "monitor is 'hits@10', which temporal link-prediction does not measure on these" in err
    assert "choose one of average_precision, roc_auc, mrr, loss, none" in err
    assert "epoch" not in err
    assert not (tmp_path / "m").exists()
