"""How far two float32 sums of the same terms may be apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT = 2.0**-24
PRODUCTS = 3
"""Roundings of a term before it is added, and of a mean behind the sum."""


def room_for_sums(indptr: NDArray[Any], added: NDArray[Any]) -> NDArray[Any]:
    """Bound of the difference of two reductions in any order, (rows, d) (Higham 2002, chapter 4).

    Args:
        indptr: offsets of the terms of every row, (rows + 1,).
        added: the same reduction of the magnitudes of terms and factors, (rows, d).
    """
    return 2 * UNIT * (np.diff(indptr)[:, None] + PRODUCTS) * added
