"""A map of an embedding table: two coordinates per row, those that are alike side by side.

Rows are scaled to length one, so that near means a large cosine, as in `gnn.similar`, and turned
onto their principal axes. A few thousand landmarks, drawn evenly over the rows, are laid out in
the plane as in UMAP (McInnes, Healy, Melville 2018): each is drawn to its nearest landmarks by the
weight v of their fuzzy neighborhoods and pushed from landmarks drawn at random, with a = b = 1,

    attraction  −2 v / (1 + r²),   repulsion  2 / ((ε + r²)(1 + r²)),

starting from their first two principal components. Any other row is placed between the landmark
nearest to it and the neighbors of that, weighted by inverse squared distance (Shepard 1968), and
moved by what those leave of it in the principal plane. All is done in one thread and with one
seed: equal rows make equal maps.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnn.evaluate import using_threads

__all__ = ["MAP_ROWS", "evenly", "project"]

MAP_ROWS = 1 << 24
"""Rows of a table that is given a map when it is made, at most; no screen shows more."""
ROWS_AT_ONCE, COMPARED_AT_ONCE = 1 << 14, 512
SAMPLE_ROWS, LANDMARKS = 1 << 15, 2048
AXES, NEIGHBORS, ANCHORS = 24, 15, 4
EPOCHS, STRANGERS, PUSH = 250, 16, 5.0
MOST_STEP, SPREAD = 4.0, 10.0
INNER = 0.92
"""Largest coordinate of a landmark; what lies around it reaches 1 at most."""
LEFT_OVER = 0.5
"""How much of what landmarks leave of a row is shown."""

Rows = NDArray[np.float32]
Array = NDArray[Any]


def project(rows: Callable[[NDArray[np.int64]], Rows], num_rows: int) -> Generator[int, None, Rows]:
    """The map of a table, (num_rows, 2) float32 within −1 … 1; yields how many rows are placed.

    Args:
        rows: row numbers → those rows of the table, (n, d).
        num_rows: rows of the table.

    Cost: one pass over the rows, about 10 µs for each, and some seconds at most for the landmarks.
    """
    placed = np.zeros((num_rows, 2), np.float32)
    if num_rows == 0:
        return placed
    with using_threads(1):
        plane = _Plane.of(rows, num_rows)
    for start in range(0, num_rows, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, num_rows)
        with using_threads(1):
            placed[start:end] = plane.place(rows(np.arange(start, end)))
        yield end
    return placed


@dataclass(frozen=True, slots=True)
class _Plane:
    """Landmarks on their axes and in the plane.

    Attributes:
        mean: (d,) of rows of length one.
        axes: (d, k), orthonormal, of falling variance.
        landmarks: (m, k) on these axes.
        neighbors: (m, 4) landmarks nearest to each, itself first.
        spots: (m, 2) in the plane.
        scale: what a step along the first two axes is in the plane.
    """

    mean: Tensor
    axes: Tensor
    landmarks: Tensor
    neighbors: Tensor
    spots: Tensor
    scale: float

    @classmethod
    def of(cls, rows: Callable[[NDArray[np.int64]], Rows], num_rows: int) -> _Plane:
        sample = _unit(rows(evenly(num_rows, SAMPLE_ROWS)))
        mean = sample.mean(0)
        axes = _principal_axes(sample - mean)
        landmarks = (sample[evenly(len(sample), LANDMARKS)] - mean) @ axes
        spots = _centered(_layout(landmarks))
        wide = float((landmarks[:, :2] - landmarks[:, :2].mean(0)).pow(2).sum().sqrt())
        scale = float(spots.pow(2).sum().sqrt()) / wide if wide > 0 else 0.0
        _, near = _nearest(landmarks, min(ANCHORS, len(landmarks)))
        return cls(mean, axes, landmarks, near, spots, LEFT_OVER * scale)

    def place(self, rows: Rows) -> Rows:
        """Where some rows of the table are, (n, 2)."""
        x = (_unit(rows) - self.mean) @ self.axes
        near = self.neighbors[self._nearest(x)]
        weight = 1 / ((x[:, None] - self.landmarks[near]).square().sum(2) + 1e-12)
        weight = (weight / weight.sum(1, keepdim=True))[:, :, None]
        rest = x[:, :2] - (weight * self.landmarks[near, :2]).sum(1)
        spot = (weight * self.spots[near]).sum(1) + self.scale * rest
        placed: Rows = spot.clamp(-1, 1).numpy()
        return placed

    def _nearest(self, x: Tensor) -> Tensor:
        """The landmark nearest to every row of x, (n,)."""
        half = self.landmarks.square().sum(1) / 2
        parts = [
            torch.addmm(half, part, self.landmarks.T, alpha=-1).numpy().argmin(1)
            for part in torch.split(x, COMPARED_AT_ONCE)
        ]
        return torch.from_numpy(np.concatenate(parts))


def _unit(rows: Rows) -> Tensor:
    """Rows of length one, float32; a row of zeros stays one."""
    x = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
    largest = x.abs().amax(1, keepdim=True).clamp_min(1e-30)
    return torch.nn.functional.normalize(x / largest, dim=1)


def evenly(num_rows: int, count: int) -> NDArray[np.int64]:
    """At most `count` distinct rows in rising order, one at random of every stretch."""
    if num_rows <= count:
        return np.arange(num_rows)
    bounds = np.linspace(0, num_rows, count + 1).astype(np.int64)
    random = np.random.default_rng(0).random(count)
    chosen: NDArray[np.int64] = bounds[:-1] + (random * np.diff(bounds)).astype(np.int64)
    return chosen


def _principal_axes(x: Tensor) -> Tensor:
    """The first axes of centered rows, (d, k), each with its largest entry positive."""
    covariance = (x.T.double() @ x.double()) / max(len(x), 1)
    _, vectors = torch.linalg.eigh(covariance)
    axes = vectors.flip(1)[:, : min(AXES, x.shape[1])]
    if axes.shape[1] < 2:
        axes = torch.nn.functional.pad(axes, (0, 2 - axes.shape[1]))
    largest = axes.abs().argmax(0)
    sign = axes[largest, torch.arange(axes.shape[1])].sign()
    turned: Tensor = (axes * sign).float()
    return turned


def _nearest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances and numbers of the k rows nearest to every row, itself first, (m, k) each."""
    square = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    square.fill_diagonal_(-1)
    found, near = square.topk(k, dim=1, largest=False)
    return found.clamp_min(0), near


def _layout(landmarks: Tensor) -> Tensor:
    """Landmarks in the plane, (m, 2) float32."""
    m = len(landmarks)
    spread = landmarks[:, :2].abs().max().clamp_min(1e-12)
    at = (landmarks[:, :2] / spread * SPREAD).numpy().astype(np.float64)
    # rows that are equal would never part
    random = np.random.default_rng(1)
    at += random.normal(0, 1e-3, at.shape)
    if m > NEIGHBORS:
        head, tail, weight = _fuzzy_edges(landmarks)
        for epoch in range(EPOCHS):
            step = 1 - epoch / EPOCHS
            pull = _pull(at, head, tail, weight)
            at += step * np.clip(pull, -MOST_STEP, MOST_STEP) * 0.5
            at += step * _push(at, random)
    return torch.from_numpy(at).float()


def _fuzzy_edges(landmarks: Tensor) -> tuple[Array, Array, Array]:
    """Both directions of every edge between neighbors, and its weight v = w + wᵀ − w wᵀ."""
    m = len(landmarks)
    distance, near = _nearest(landmarks, NEIGHBORS + 1)
    weights = _memberships(distance[:, 1:].numpy().astype(np.float64))
    matrix = np.zeros((m, m), np.float32)
    np.put_along_axis(matrix, near[:, 1:].numpy(), weights.astype(np.float32), axis=1)
    np.fill_diagonal(matrix, 0)
    matrix = matrix + matrix.T - matrix * matrix.T
    head, tail = np.nonzero(matrix)
    return head, tail, matrix[head, tail].astype(np.float64)


def _memberships(distance: Array) -> Array:
    """exp(−(d − ρ) / σ) with ρ the least distance of a row and σ such that they sum to log2 k."""
    target = np.log2(distance.shape[1])
    beyond = distance - distance.min(1, keepdims=True)
    low = np.zeros((len(distance), 1))
    high = np.full((len(distance), 1), 10.0)
    for _ in range(40):
        sigma = (low + high) / 2
        total = np.exp(-beyond / (sigma + 1e-12)).sum(1, keepdims=True)
        low, high = np.where(total > target, low, sigma), np.where(total > target, sigma, high)
    weights: Array = np.exp(-beyond / (sigma + 1e-12))
    return weights


def _pull(at: Array, head: Array, tail: Array, weight: Array) -> Array:
    apart = at[tail] - at[head]
    force = 2 * weight / (1 + (apart**2).sum(1))
    return _summed(head, force[:, None] * apart, len(at))


def _push(at: Array, random: np.random.Generator) -> Array:
    strangers = random.integers(0, len(at), (STRANGERS, len(at)))
    apart = at - at[strangers]
    square = (apart**2).sum(2)
    force = 2 / ((0.001 + square) * (1 + square))
    steps = np.clip(force[:, :, None] * apart, -MOST_STEP, MOST_STEP)
    total: Array = steps.mean(0) * PUSH
    return total


def _summed(index: Array, values: Array, size: int) -> Array:
    columns = [np.bincount(index, values[:, i], size) for i in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _centered(spots: Tensor) -> Tensor:
    """The same around 0, within the extent, with a margin for what is placed between them."""
    middle = (spots.amax(0) + spots.amin(0)) / 2
    largest = (spots - middle).abs().max().clamp_min(1e-12)
    return (spots - middle) / largest * INNER
