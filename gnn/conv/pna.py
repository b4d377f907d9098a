"""PNA (Corso et al.: Principal Neighbourhood Aggregation for Graph Nets, 2020).

    out_v = U [x_v | S(d_v) ⊗ { mean, max, min, std } M [x_v | x_u]]
    S(d)  = 1, log(d+1)/δ, δ/log(d+1)          δ the mean of log(d+1) over the training nodes

M is linear, so M [x_v | x_u] = A x_v + B x_u + c, and only B x_u travels: the rest is the same for
all edges of a row. d_v is the in-degree in the whole graph. Rows without edges receive zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnn.aggregate import aggregate
from gnn.edges import touched
from sampling import Block, NodeView
from sampling.errors import InputError

__all__ = ["AGGREGATORS", "SCALERS", "PNAConv"]

AGGREGATORS = ("mean", "max", "min", "std")
SCALERS = ("identity", "amplification", "attenuation")
LEAST_VARIANCE = 1e-5


class PNAConv(nn.Module):
    """One PNA layer without its nonlinearity.

    Args:
        d_in: width of the input rows.
        d_out: width of the output rows.
        mean_log_degree: δ.
        aggregators: which of "mean", "max", "min" and "std".
        scalers: which of "identity", "amplification" and "attenuation".

    Raises:
        InputError: an aggregator or a scaler is unknown or none is given, or δ is not above 0.
    """

    sends_input = False
    activates = True
    linear_reduction = None

    def __init__(
        self,
        d_in: int,
        d_out: int,
        mean_log_degree: float,
        aggregators: Sequence[str] = AGGREGATORS,
        scalers: Sequence[str] = SCALERS,
    ) -> None:
        super().__init__()
        _check("aggregator", aggregators, AGGREGATORS)
        _check("scaler", scalers, SCALERS)
        if not mean_log_degree > 0:
            raise InputError(f"mean_log_degree is {mean_log_degree}; it must be above 0")
        self.d_out, self.mean_log_degree = d_out, mean_log_degree
        self.aggregators, self.scalers = tuple(aggregators), tuple(scalers)
        self.own = nn.Linear(d_in, d_in)
        self.neighbors = nn.Linear(d_in, d_in, bias=False)
        self.update = nn.Linear((len(aggregators) * len(scalers) + 1) * d_in, d_out)

    def messages(self, x: Tensor, nodes: NodeView) -> Tensor:
        """What travels along the edges out of every row: B x, (rows, d_in).

        Args:
            x: rows of source nodes.
            nodes: the nodes that they belong to; not looked at here.
        """
        rows: Tensor = self.neighbors(x.to(self.neighbors.weight.dtype))
        return rows

    def combine(self, block: Block, x_dst: Tensor, messages: Tensor) -> Tensor:
        """Output rows from the destinations' own rows and all messages, (num_dst, d_out)."""
        x_dst = x_dst.to(self.own.weight.dtype)
        received = self._aggregated(block, self.own(x_dst), messages)
        out: Tensor = self.update(torch.cat([x_dst, *self._scaled(block, received)], dim=1))
        return out

    def _aggregated(self, block: Block, own: Tensor, messages: Tensor) -> Tensor:
        """The aggregators side by side, (num_dst, aggregators * d_in)."""
        hop, rows = touched(block, messages)
        rows = rows.to(own.dtype)
        own = own * (block.in_degrees() > 0).to(own.dtype)[:, None]
        parts = []
        for name in self.aggregators:
            if name == "std":
                parts.append(_deviation(hop, rows))
            elif name == "min":
                parts.append(own - aggregate(hop, -rows, "max"))
            else:
                parts.append(own + aggregate(hop, rows, name))
        return torch.cat(parts, dim=1)

    def _scaled(self, block: Block, received: Tensor) -> list[Tensor]:
        logs = (block.dst_degrees() + 1).to(received.dtype).log()[:, None]
        delta = self.mean_log_degree
        factors = {
            "identity": torch.ones_like(logs),
            "amplification": logs / delta,
            "attenuation": delta / logs.clamp(min=math.log(2)),
        }
        return [received * factors[name] for name in self.scalers]

    def forward(self, block: Block, x: Tensor, messages: Tensor | None = None) -> Tensor:
        """Output rows of the destinations, (num_dst, d_out), from x, (num_src, d_in)."""
        if messages is None:
            messages = self.messages(x, block.sources)
        return self.combine(block, block.dst_rows(x), messages)


def _deviation(block: Block, rows: Tensor) -> Tensor:
    """Standard deviation over the edges of every row; 0 where it is lost in rounding."""
    variance = aggregate(block, rows.square(), "mean") - aggregate(block, rows, "mean").square()
    deviation = variance.clamp(min=LEAST_VARIANCE).sqrt()
    return deviation.masked_fill(variance <= LEAST_VARIANCE, 0.0)


def _check(kind: str, names: Sequence[str], known: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        got = f"{unknown[0]!r} is no {kind}" if unknown else f"there is no {kind}"
        raise InputError(f"{got}; choose some of {', '.join(known)}")
