"""Scores are read out of prose, and nothing is invented where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.scores import parse_option, parse_scores


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("9 6\n\nThe first one says more.", (9, 6)),
        ("8.5, 7\nBoth are fine.", (8.5, 7)),
        ("7/10 9/10", (7, 9)),
        ("Both are fine.\n\nscores: [8, 6]", (8, 6)),
        ("**Scores:** [8, 6]\nThat is all.", (8, 6)),
        ("I waver: scores: [1, 1]. No.\nScores: [8, 6]", (8, 6)),
        ("The ends are (2, -2) and (10, 4).\n\nOutput: (1, 10)", (1, 10)),
        ("The tuple is (6, 10). Assistant 2 did better.", (6, 10)),
        ("It is so.\n\n(10, 9)", (10, 9)),
        ("Fine work.\n\n4 10", (4, 10)),
        ("Scores:\nAssistant 1: 3/10 (wrong)\nAssistant 2: 10/10 (right, in 2 steps)", (3, 10)),
        ("Scores: (Assistant 1: 4, Assistant 2: 10)", (4, 10)),
        ("Response A: 4\nResponse B: 9", (4, 9)),
        ("Assistant 2:\n2\nThat is wrong.\n\nScores:\nAssistant 1: 10\nAssistant 2: 1", (10, 1)),
        ("I give Assistant 1 a score of 2 out of 10, and Assistant 2 a score of 7.", (2, 7)),
    ],
)
def test_scores_are_read_where_judges_put_them(text: str, values: tuple[float, ...]) -> None:
    assert parse_scores(text).values == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("error", "no place holds 2 scores"),
        ("The ends are (2, -2) and (10, 4), as both say.", "no place"),
        ("Assistant 1: 7", "no place"),
        ("Assistant 1: 7\nAssistant 1: 5\nAssistant 2: 3", "response 1 is given 5 and 7"),
        ("scores: [7, 11]", "11 is not on the scale from 0 to 10"),
        ("scores: [7, 8, 9]", "no place"),
        ("7", "no place"),
    ],
)
def test_what_cannot_be_read_has_a_reason_and_no_number(text: str, reason: str) -> None:
    found = parse_scores(text)
    assert found.values is None
    assert reason in str(found.reason)


def test_any_number_of_responses_and_any_scale() -> None:
    assert parse_scores("scores: [1, 2, 3, 4]", count=4).values == (1, 2, 3, 4)
    assert parse_scores("scores: [80, 95]", high=100).values == (80, 95)
    assert parse_scores("scores: [-2, 2]", low=-2, high=2).values == (-2, 2)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reading(text: str) -> None:
    for found in (parse_scores(text), parse_option(text, ("1", "2", "3"))):
        value = found.values if hasattr(found, "values") else found.value
        assert (value is None) == (found.reason is not None)


@given(st.lists(st.integers(0, 10), min_size=1, max_size=8), st.text("abc \n", max_size=40))
def test_an_announced_list_is_read_back(scores: list[int], prose: str) -> None:
    text = f"{prose}\nscores: {scores}"
    assert parse_scores(text, count=len(scores)).values == tuple(scores)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Long talk about 1 and 2.\n\n3", "3"),
        ("2\nBecause it says more than 1.", "2"),
        ("Therefore, I choose option 3, as both are equivalent.", "3"),
        ("So I choose 1 here.", "1"),
        ("Verdict: **2**", "2"),
        ("error", None),
        ("", None),
        ("I cannot choose between Assistant 1 and Assistant 2.", None),
        ("I would choose 1, but another might choose 2.", None),
    ],
)
def test_options(text: str, value: str | None) -> None:
    found = parse_option(text, ("1", "2", "3"))
    assert found.value == value
    assert (found.reason is None) == (value is not None)


def test_options_come_back_as_they_were_given() -> None:
    assert parse_option("TIE", ("A", "B", "tie")).value == "tie"
    assert parse_option("The verdict is a", ("A", "B", "tie")).value == "A"


@pytest.mark.realdata
def test_the_raw_answers_of_gpt4_are_read_as_their_owners_read_them(realdata: Path) -> None:
    from benchmarks.pandalm import read_ratings

    opinions, table = read_ratings(realdata)
    counts = {row["asked for"]: row for row in table.iter_rows(named=True)}
    assert counts["scores"]["answers"] == 5_760
    assert counts["options"]["answers"] == 4_480
    for row in counts.values():
        assert row["read otherwise"] == 0
        assert row["read there alone"] == 0
    assert counts["scores"]["read here alone"] == 60
    assert counts["options"]["answers"] - counts["options"]["read"] == 10
    assert len(opinions) == 10_240
    assert opinions.filter(~opinions["valid"])["p_a"].null_count() == 10
