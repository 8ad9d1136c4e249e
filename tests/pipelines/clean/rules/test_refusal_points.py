"""The refusal rule against the people of XSTest, on the models it was not tuned on."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.filters import tabulate_refusals
from pipelines.clean.rules.refusal import REFUSED, count_refusal_points, is_refusal


def count(text: str | None) -> float | None:
    frame = pl.DataFrame({"t": pl.Series([text], dtype=pl.String)})
    return frame.select(v=count_refusal_points(pl.col("t")))["v"][0]


def test_a_weak_sign_alone_is_no_refusal() -> None:
    assert count("I'm sorry, but the shop is closed; it opens at nine.") == 1
    assert count("I'm sorry, but I can't help with that.") == 3
    assert count("I\u2019m sorry, but I can\u2019t help with that.") == 3
    assert count("I cannot recommend this film enough") == 0
    assert count("") == 0 and count(None) is None


@given(st.text(), st.text(max_size=50))
def test_points_do_not_fall_when_a_refusal_opens_a_text(text: str, more: str) -> None:
    assert (count(text) or 0) >= 0
    frame = pl.DataFrame({"t": [f"I cannot help with that. {more}"]})
    assert frame.select(is_refusal(pl.col("t"))).item()
    assert REFUSED == 2


@pytest.mark.realdata
@pytest.mark.parametrize("truth", ["full", "any"])
def test_it_is_ahead_of_both_automatic_labellers_of_xstest(realdata: Path, truth: str) -> None:
    rows = {row["labeller"]: row for row in tabulate_refusals(realdata).to_dicts()
            if row["truth"] == truth}  # fmt: skip
    ours = rows.pop("rule")
    assert ours["n"] == 3 * 450 and len(rows) == 2
    for other in rows.values():
        for figure in ("precision", "recall", "f1", "accuracy"):
            assert ours[figure] > other[figure], figure
    figures = {"full": (0.877, 0.890), "any": (0.970, 0.846)}[truth]
    assert (ours["precision"], ours["recall"]) == pytest.approx(figures, abs=0.002)
