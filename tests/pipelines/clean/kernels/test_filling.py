"""The order in which rows are taken."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.kernels.filling import order_places

CLOSE = st.integers(0, 3) | st.integers(2**64 - 4, 2**64 - 1)  # alike in all but their last bits


@given(st.lists(st.integers(0, 2**64 - 1) | CLOSE, max_size=40))
def test_rows_come_by_their_places_and_of_equal_ones_the_first(places: list[int]) -> None:
    given_ = np.array(places, dtype=np.uint64)
    assert order_places(given_).tolist() == sorted(range(len(places)), key=lambda i: places[i])
