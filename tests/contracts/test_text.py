"""Integers in text: the compiled parser and its twin read and refuse the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.kernels import _core, reference

FIELDS = st.one_of(
    st.integers(-(10**18) + 1, 10**18 - 1).map(str),
    st.integers(0, 99).map(lambda i: f"{i:05}"),
    st.sampled_from(["", "-", "+1", "--1", "1.0", "a", " 1", '"1"', "9" * 18, "9" * 19, "٣", "\0"]),
)


@given(st.lists(st.lists(FIELDS, min_size=1, max_size=3), max_size=8), st.sampled_from(",\t ;"))
def test_any_text_is_read_or_refused_alike(rows: list[list[str]], delimiter: str) -> None:
    raw = "".join(delimiter.join(row) + "\n" for row in rows).encode()
    text = np.frombuffer(raw, np.uint8)
    for columns in (1, 2, 3):
        ours = _core.parse_integers(text, ord(delimiter), columns, 2)
        twin = reference.parse_integers(text, ord(delimiter), columns, 1)
        assert (ours is None) == (twin is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, twin)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_text_is_read_alike_under_any_number_of_threads(threads: int) -> None:
    values = np.random.default_rng(0).integers(-(10**6), 10**12, (60_000, 2))
    raw = "".join(f"{a}\t{b}\n" for a, b in values.tolist()).encode()
    found = _core.parse_integers(np.frombuffer(raw, np.uint8), ord("\t"), 2, threads)
    np.testing.assert_array_equal(found, values.T)
    bad = np.frombuffer(raw + b"1\tx\n", np.uint8)
    assert _core.parse_integers(bad, ord("\t"), 2, threads) is None


def test_text_that_ends_within_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="end with a line"):
        _core.parse_integers(np.frombuffer(b"1,2", np.uint8), 44, 2, 1)


@pytest.mark.parametrize("delimiter", [*b"\n-7", 256, -1])
def test_a_delimiter_that_is_part_of_numbers_or_lines_is_refused(delimiter: int) -> None:
    with pytest.raises(ValueError, match="within a line"):
        _core.parse_integers(np.frombuffer(b"1\n", np.uint8), delimiter, 2, 1)
