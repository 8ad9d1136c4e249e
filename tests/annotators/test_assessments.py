"""Assessments: read from JSON or from words, and never guessed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable
from annotators.assessments import make_schema, read_assessment


@pytest.mark.parametrize(
    ("text", "scores"),
    [("scores: [7, 4]", (7, 4)), ("**Scores:** [7/10, 4/10]\n", (7, 4)),
     ("I was told: scores: [1, 10].\nFirst.. Second..\nscores: [7, 4]", (7, 4)),
     ('```json\n{"scores": [7.0, "4"]}\n```', (7, 4)), ('Well. {"scores": [7, 4]} Done.', (7, 4)),
     ('{"critiques": ["a "quoted" word"], "scores": [7, 4]}', (7, 4))],
)  # fmt: skip
def test_scores_are_read_from_json_and_from_words(text: str, scores: tuple[int, ...]) -> None:
    assert read_assessment(text, 2).scores == scores


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", "no scores"), ("scores: [s1, s2]", "no whole number"), ("scores: [7]", "1 scores for 2"),
     ("scores: [7, 4, 4]", "3 scores for 2"), ("scores: [11, 4]", "no whole number"),
     ("scores: [0, 4]", "no whole number"), ("scores: [7.5, 4]", "no whole number"),
     ('{"scores": [true, 4]}', "no whole number"), ('{"scores": [null, 4]}', "no whole number"),
     ('{"critiques": ["a", "b"], "scor', "no scores"), ("7 and 4", "no scores"),
     ("[7, 4]", "no scores"), ("[" * 100_000, "no scores")],
)  # fmt: skip
def test_scores_that_are_not_all_there_are_not_guessed(text: str, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        read_assessment(text, 2)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("scores", "critiques", "principles"), anything)
    )
)
def test_whatever_json_comes_is_read_or_unreadable(content: dict[str, Any]) -> None:
    with contextlib.suppress(Unreadable):
        said = read_assessment(json.dumps(content), 2)
        assert len(said.scores) == 2 and len(said.critiques) in (0, 2)
        json.dumps(said.principles, ensure_ascii=False, allow_nan=False).encode()


def test_critiques_that_cannot_be_told_apart_stay_in_the_text() -> None:
    said = read_assessment('{"critiques": ["only one"], "scores": [7, 4]}', 2)
    assert said.critiques == () and "only one" in said.describe()


def test_the_schema_is_short_enough_for_its_tokens() -> None:
    for count, max_tokens in ((2, 256), (2, 768), (5, 768), (16, 768)):
        properties = make_schema(count, max_tokens)["properties"]
        chars = properties["critiques"]["items"]["maxLength"]
        assert 20 <= chars <= 300 and (count + 4) * chars <= 2 * (max_tokens - 80)
        assert properties["scores"]["minItems"] == count == properties["scores"]["maxItems"]
