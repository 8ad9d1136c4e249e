"""The attribute writer: five attributes, and a difference that knows no place of showing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.asking import Unreadable
from annotators.attributes import (
    CONTROVERSIALITY,
    KINDS,
    OBJECTIVITY,
    AttributeWriter,
    find_nearest,
    read_description,
)
from annotators.templates import load_template
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from schemas.evidence import Attributes
from schemas.ids import make_pair_id
from tests.annotators.judging import MODEL, hold, make_item, show

TEMPLATE = "{{ prompt }}\nfirst: {{ first }}\nsecond: {{ second }}\n"
WRITER = AttributeWriter(MODEL, TEMPLATE)
PAIRS = [make_item("one", "two", prompt=f"Which {number}?") for number in range(12)]
SAID: dict[str, Any] = {
    "task_category": "Trivia",
    "objectivity": "objective",
    "controversiality": "low",
    "desired_attributes": ["correct", "brief"],
    "guideline": "See whether it is true.",
    "differences": [{"kind": "correctness", "first": "is wrong", "second": "is right"}],
}


def find_shown(request: ChatRequest) -> tuple[str, str]:
    text = show(request)
    first, second = (text.partition(f"{name}: ")[2].partition("\n")[0]
                     for name in ("first", "second"))  # fmt: skip
    return first, second


def describe(request: ChatRequest) -> str:
    """Says of each response what it is, whatever the order."""
    first, second = find_shown(request)
    difference = {"kind": "length", "first": f"says {first}", "second": f"says {second}"}
    return json.dumps({**SAID, "differences": [difference]})


def always(**changes: Any) -> Callable[[ChatRequest], str]:
    return lambda _: json.dumps({**SAID, **changes})


def test_the_difference_is_told_of_the_responses_not_of_their_places() -> None:
    shown = []
    for pair in PAIRS:
        (row,), (request,) = hold(WRITER, pair, describe)
        shown.append(find_shown(request) == pair.contents)
        assert row["difference"] == f"length: A: says {pair.contents[0]} B: says {pair.contents[1]}"
        assert (row["target"], row["prompt_id"]) == (
            make_pair_id(pair.prompt_id, *pair.response_ids), pair.prompt_id,
        )  # fmt: skip
    assert set(shown) == {True, False}  # which one is shown first follows from the pair
    assert shown == [find_shown(hold(WRITER, p, describe)[1][0]) == p.contents for p in PAIRS]


def test_words_for_the_places_become_the_letters_of_the_responses() -> None:
    difference = {
        "kind": "reasoning",
        "first": "Unlike the second answer, it shows its steps; first the sum",
        "second": "shorter than The First Response",
    }
    text = json.dumps({**SAID, "differences": [difference]})
    ab, ba = (read_description(text, order).differences[0] for order in ("ab", "ba"))
    assert ab == ("reasoning", "Unlike B, it shows its steps; first the sum", "shorter than A")
    assert ba == ("reasoning", "shorter than B", "Unlike A, it shows its steps; first the sum")


def test_a_prompt_by_itself_has_no_difference_and_shows_no_response() -> None:
    for item in (make_item("one"), make_item("one", "two", "three")):
        (row,), (request,) = hold(WRITER, item, always())
        assert (row["target"], row["difference"], row["difference_kinds"]) == (
            item.prompt_id, None, None,
        )  # fmt: skip
        assert row["valid"] and find_shown(request) == ("None", "None")
        assert request.json_schema is not None
        assert "differences" not in request.json_schema["properties"]
    assert hold(WRITER, PAIRS[0], always())[1][0].json_schema["required"][-1] == "differences"


def test_rows_keep_the_contract_of_attributes() -> None:
    rows = [
        row
        for item in (*PAIRS[:2], make_item("one"))
        for answer in (
            describe,
            lambda _: "hm",
            lambda r: ChatResult(r.request_id, error="timeout"),
        )
        for row in hold(WRITER, item, answer)[0]
    ]
    stamp = {"run_id": "r", "created_at": datetime(2026, 1, 1)}
    frame = pl.DataFrame([{**stamp, **row} for row in rows], infer_schema_length=None)
    assert frame["attributes_id"].is_unique().all()
    Attributes.validate(frame, cast=True)
    assert [row["valid"] for row in rows] == [True, False, False] * 3
    assert rows[2]["reason"] == "call failed: timeout"


def test_an_unreadable_answer_is_sent_back_once_and_its_tokens_count() -> None:
    (row,), asked = hold(WRITER, PAIRS[0], always(controversiality="moderate"))
    assert len(asked) == 2 and "'moderate' is none of low, medium, high" in show(asked[1])
    assert not row["valid"] and row["reason"] == "'moderate' is none of low, medium, high"
    assert json.loads(row["raw"])["controversiality"] == "moderate"
    assert (row["tokens_in"], row["tokens_out"], row["objectivity"]) == (20, 4, None)
    (row,), asked = hold(
        WRITER,
        PAIRS[0],
        lambda r: describe(r) if len(r.messages) > 1 else "I would say it is fine.",
    )
    assert (len(asked), row["valid"], row["tokens_in"]) == (2, True, 20)


@pytest.mark.parametrize(
    ("text", "options", "nearest"),
    [("Objective", OBJECTIVITY, "objective"), ("SUBJECTIVE.", OBJECTIVITY, "subjective"),
     ("mostly subjective", OBJECTIVITY, "subjective"), ("objectve", OBJECTIVITY, "objective"),
     ("Medium", CONTROVERSIALITY, "medium"), ("highly controversial", CONTROVERSIALITY, "high"),
     ("very low", CONTROVERSIALITY, "low")],
)  # fmt: skip
def test_a_value_is_taken_for_the_nearest_known_one(
    text: str, options: tuple[str, ...], nearest: str
) -> None:
    assert find_nearest(text, options) == nearest


@pytest.mark.parametrize(
    ("text", "options"),
    [("moderate", CONTROVERSIALITY), ("low to medium", CONTROVERSIALITY), ("", OBJECTIVITY),
     ("not objective", OBJECTIVITY), ("non-objective", OBJECTIVITY),
     ("objective and subjective", OBJECTIVITY), ("unknown", OBJECTIVITY)],
)  # fmt: skip
def test_a_value_that_may_be_any_is_none(text: str, options: tuple[str, ...]) -> None:
    with pytest.raises(Unreadable):
        find_nearest(text, options)


@given(st.sampled_from(OBJECTIVITY + CONTROVERSIALITY))
def test_every_known_value_is_itself(value: str) -> None:
    options = OBJECTIVITY if value in OBJECTIVITY else CONTROVERSIALITY
    assert find_nearest(value, options) == find_nearest(value.upper(), options) == value


def test_answers_are_read_tolerantly() -> None:
    loose = {
        "Task Category": " Trivia ",
        "Objectivity": "Objective",
        "controversiality": "LOW",
        "desired-attributes": "correct, brief; kind",
        "Guideline": "See.",
        "differences": [{"kind": "Corectness", "first": "wrong", "second": "right"},
                        {"kind": "Humour", "first": "none", "second": "some"}],
    }  # fmt: skip
    said = read_description(f"Here it is:\n```json\n{json.dumps(loose)}\n```", "ab")
    assert said.task_category == "trivia"
    assert said.desired_attributes == ("correct", "brief", "kind")
    assert [kind for kind, _, _ in said.differences] == ["correctness", "humour"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"guideline": " "}, "guideline"), ({"guideline": 3}, "guideline"),
     ({"desired_attributes": []}, "desired_attributes"),
     ({"desired_attributes": [1, None]}, "desired_attributes"),
     ({"objectivity": None}, "objectivity"), ({"differences": []}, "differences"),
     ({"differences": ["length"]}, "must be an object"),
     ({"differences": [{"kind": "length", "first": "short"}]}, "second"),
     ({"guideline": "\ud83d"}, "not a JSON object")],
)  # fmt: skip
def test_a_field_that_says_nothing_is_named(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        read_description(json.dumps({**SAID, **changes}), "ab")


anything = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(st.dictionaries(st.sampled_from(list(SAID)), anything), st.sampled_from(["ab", "ba", None]))
def test_whatever_json_comes_is_read_or_unreadable(
    changes: dict[str, Any], order: str | None
) -> None:
    with contextlib.suppress(Unreadable):
        said = read_description(json.dumps({**SAID, **changes}), order)
        assert said.objectivity in OBJECTIVITY and said.desired_attributes
        assert bool(said.differences) == (order is not None)


def test_the_shipped_template_shows_what_there_is() -> None:
    template = load_template(find_asset("judges/attributes.jinja"), ("prompt", "first", "second"),
                             reference=None, kinds=KINDS)  # fmt: skip
    writer = AttributeWriter(MODEL, template)
    item = make_item("one", "two", answer="forty-two")
    text = show(hold(writer, item, always())[1][0])
    assert all(word in text for word in ("one", "two", "forty-two", "safety", "[Second answer]"))
    alone = show(hold(writer, make_item("one"), always())[1][0])
    assert "differences" not in alone and "First answer" not in alone and "Reference" not in alone
    assert writer.annotator != WRITER.annotator
