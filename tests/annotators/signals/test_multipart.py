"""Scores in parts: overlaps by hand, and a part that is missing is never 0."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.signals.multipart import (
    PARTS,
    make_part_rows,
    overlap_lines,
    overlap_spans,
    score_parts,
)
from annotators.signals.rows import SignalUnusable
from tests.annotators.signals.checking import check_rows

WEIGHTS = {"label": 2.0, "location": 1.0, "analysis": 1.0}
SCHEMA = {
    **dict.fromkeys(("prompt_id", "response_id", "label_said", "label_true"), pl.String),
    **dict.fromkeys(("lines_said", "lines_true"), pl.List(pl.Int64)),
    "analysis": pl.Float64,
}
lines = st.sets(st.integers(0, 20), max_size=8)
spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 10)).map(lambda one: (one[0], sum(one))),
    max_size=5,
)
share = st.none() | st.floats(0, 1)


def make_response(**known: Any) -> dict[str, Any]:
    whole = {
        "prompt_id": "p", "response_id": "r", "label_said": "CWE-79", "label_true": "cwe-79",
        "lines_said": [3, 4], "lines_true": [4, 5, 6], "analysis": 0.5,
    }  # fmt: skip
    return whole | known


def score(**known: Any) -> dict[str, Any]:
    frame = pl.DataFrame([make_response(**known)], schema=SCHEMA)
    return score_parts(frame, WEIGHTS).row(0, named=True)


def test_parts_by_hand() -> None:
    """Label right; one line of four; half an analysis; (2 + 0.25 + 0.5) / 4 together."""
    scored = score()
    assert [scored[part] for part in PARTS] == [1, 0.25, 0.5]
    assert scored["combined"] == pytest.approx(0.6875)
    assert scored["missing"] == []
    assert score(label_said="safe")["combined"] == pytest.approx(0.1875)


@pytest.mark.parametrize(
    ("unread", "part"),
    [("label_said", "label"), ("lines_said", "location"), ("analysis", "analysis")],
)
def test_a_missing_part_is_null_and_so_is_the_sum(unread: str, part: str) -> None:
    scored = score(**{unread: None})
    assert scored[part] is None
    assert scored["combined"] is None
    assert scored["missing"] == [part]
    assert all(scored[other] is not None for other in PARTS if other != part)


def test_nowhere_is_an_answer() -> None:
    assert score(lines_said=[])["location"] == 0


@pytest.mark.parametrize("nothing", [None, []])
def test_a_part_without_a_truth_does_not_apply(nothing: list[int] | None) -> None:
    scored = score(lines_true=nothing, lines_said=None)
    assert (scored["location"], scored["missing"]) == (None, [])
    assert scored["combined"] == pytest.approx((2 * 1 + 0.5) / 3)


def test_a_part_that_weighs_nothing_cannot_spoil_the_sum() -> None:
    frame = pl.DataFrame([make_response(analysis=None, lines_said=None)], schema=SCHEMA)
    scored = score_parts(frame, {"label": 1.0}).row(0, named=True)
    assert (scored["combined"], scored["missing"]) == (1.0, ["location"])


@given(share, st.none() | lines, lines, st.none() | st.sampled_from(["x", "y"]))
def test_the_sum_lies_among_its_parts_or_is_null_with_one_of_them(
    analysis: float | None, said: set[int] | None, true: set[int], label: str | None
) -> None:
    scored = score(
        analysis=analysis, lines_said=None if said is None else list(said), lines_true=list(true),
        label_said=label, label_true="x",
    )  # fmt: skip
    known = [scored[part] for part in PARTS if scored[part] is not None]
    assert all(0 <= part <= 1 for part in known)
    assert (scored["combined"] is None) == bool(scored["missing"])
    if scored["combined"] is not None:
        assert min(known) - 1e-9 <= scored["combined"] <= max(known) + 1e-9


@given(lines, lines)
def test_overlap_of_lines_is_symmetric_bounded_and_1_where_equal(
    ours: set[int], theirs: set[int]
) -> None:
    if not theirs:
        with pytest.raises(SignalUnusable, match="names no line"):
            overlap_lines(ours, theirs)
        return
    overlap = overlap_lines(ours, theirs)
    assert 0 <= overlap <= 1
    assert (overlap == 1) == (ours == theirs)
    if ours:
        assert overlap == overlap_lines(theirs, ours)


@given(spans, spans)
def test_overlap_of_spans_is_that_of_the_places_they_cover(
    ours: list[tuple[int, int]], theirs: list[tuple[int, int]]
) -> None:
    covered = [{n for start, end in one for n in range(start, end)} for one in (ours, theirs)]
    if covered[1]:
        assert overlap_spans(ours, theirs) == pytest.approx(overlap_lines(*covered))
    else:
        with pytest.raises(SignalUnusable, match="names no span"):
            overlap_spans(ours, theirs)


def test_spans_of_a_frame() -> None:
    plain = {key: value for key, value in make_response().items() if "lines" not in key}
    frame = pl.DataFrame([plain | {"spans_said": [[0, 10]], "spans_true": [[5, 15], [12, 20]]}])
    assert score_parts(frame, WEIGHTS)["location"].to_list() == [0.25]
    with pytest.raises(SignalUnusable, match="ends before it starts"):
        overlap_spans([(5, 1)], [(0, 2)])


@pytest.mark.parametrize("nonsense", [[[9, 3]], [[0, 5], [9, 3]], [[4]], [[1, None]], [None]])
def test_one_span_that_is_none_costs_one_response_its_place(nonsense: list[Any]) -> None:
    plain = {key: value for key, value in make_response().items() if "lines" not in key}
    said = [[[0, 10]], nonsense, []]
    frame = pl.DataFrame(
        [plain | {"spans_said": spans, "spans_true": [[5, 15]]} for spans in said],
        schema_overrides={"spans_said": pl.List(pl.List(pl.Int64))},
    )
    scored = score_parts(frame, WEIGHTS)
    assert scored["location"].to_list() == [pytest.approx(1 / 3), None, 0.0]
    assert scored["missing"].to_list() == [[], ["location"], []]
    assert scored["combined"].is_null().to_list() == [False, True, False]
    whole = [row for row in make_part_rows(scored, WEIGHTS) if row["criterion"] is None]
    assert [row["valid"] for row in whole] == [True, False, True]


def test_a_line_that_is_none_is_unreadable() -> None:
    assert score(lines_said=[3, None])["missing"] == ["location"]


def test_a_truth_that_covers_nothing_does_not_apply_and_one_that_is_no_span_is_named() -> None:
    plain = {key: value for key, value in make_response().items() if "lines" not in key}
    frame = pl.DataFrame([plain | {"spans_said": [[0, 1]], "spans_true": [[5, 5]]}])
    scored = score_parts(frame, WEIGHTS).row(0, named=True)
    assert (scored["location"], scored["missing"]) == (None, [])
    frame = pl.DataFrame([plain | {"spans_said": [[0, 1]], "spans_true": [[9, 3]]}])
    with pytest.raises(SignalUnusable, match=r"truth of response r .*\[\[9, 3\]\]"):
        score_parts(frame, WEIGHTS)


def test_unusable_input_is_refused_with_the_mend() -> None:
    frame = pl.DataFrame([make_response()], schema=SCHEMA)
    for weights in ({}, {"label": 0.0}, {"label": -1.0}, {"label": float("nan")}):
        with pytest.raises(SignalUnusable, match="0 or more"):
            score_parts(frame, weights)
    with pytest.raises(SignalUnusable, match="no part named place"):
        score_parts(frame, {"place": 1.0})
    with pytest.raises(SignalUnusable, match="scale from 0 to 1"):
        score_parts(frame.with_columns(analysis=7.0), WEIGHTS)
    with pytest.raises(SignalUnusable, match="either lines_said"):
        score_parts(frame.drop("lines_true"), WEIGHTS)
    assert len(score_parts(frame.clear(), WEIGHTS)) == 0


def test_rows_keep_the_parts_apart() -> None:
    responses = [
        make_response(response_id="whole"),
        make_response(response_id="torn", lines_said=None),
        make_response(response_id="safe", lines_true=[], lines_said=[]),
    ]
    frame = pl.DataFrame(responses, schema=SCHEMA)
    rows = check_rows(make_part_rows(score_parts(frame, WEIGHTS), WEIGHTS))
    told = {(row["response_a"], row["criterion"]): row for row in rows}
    assert told["whole", None]["score"] == pytest.approx(0.6875)
    assert told["torn", None]["reason"] == "missing: location"
    assert not told["torn", "location"]["valid"]
    assert ("safe", "location") not in told
    assert told["safe", "label"]["score"] == 1
    assert make_part_rows(score_parts(frame.clear(), WEIGHTS), WEIGHTS) == []
