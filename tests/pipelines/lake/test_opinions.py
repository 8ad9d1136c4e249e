"""Recorded opinions as they are read: which way round they are stored, and what is refused and
why."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.lake.intake import Edition, Intake
from pipelines.lake.layouts import OPINIONS
from pipelines.lake.opinions import KNOWN, read_opinion
from pipelines.lake.parts import Comparison
from pipelines.lake.rows import to_frame, validate
from pipelines.lake.run import Run
from schemas.evidence import JUDGMENT_KINDS
from schemas.ids import make_prompt_id, make_response_id
from schemas.sourcing import ImportSource
from tests.pipelines.lake.pools import TABLES, USER, record

FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "A": {"verdict": {"verdict": "A"}, "p_a": {"p_a": 0.75}, "score": {"score_a": 4, "score_b": 1}},
    "B": {"verdict": {"verdict": "B"}, "p_a": {"p_a": 0.25}, "score": {"score_a": 1, "score_b": 4}},
}


def read(**changes: Any) -> Comparison:
    (comparison,) = read_opinion(record(**changes)).comparisons
    return comparison


def take_in(row: dict[str, Any]) -> dict[str, Any]:
    """The row of `judgments` that a record comes to, with the texts of its two responses."""
    source = ImportSource(path="x", name="pool", layout=OPINIONS)
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    Intake(source, Edition("f" * 32, OPINIONS, "{}"), set()).add(tables, 0, row)
    texts = {row["response_id"]: row["content"] for row in tables["responses"]}
    (judgment,) = tables["judgments"]
    judgment["texts"] = texts[judgment["response_a"]], texts[judgment["response_b"]]
    return judgment


def responses_in_order(smaller_first: bool, salt: str = "") -> tuple[str, str]:
    """Two texts, as a record's response_a and response_b, of whose ids the first is the smaller
    one, or the larger."""
    prompt_id = make_prompt_id([USER])
    one, two = sorted((f"One{salt}.", f"Two{salt}."), key=lambda t: make_response_id(prompt_id, t))
    return (one, two) if smaller_first else (two, one)


@pytest.mark.parametrize("form", ["verdict", "p_a", "score"])
@pytest.mark.parametrize("smaller_first", [True, False])
@pytest.mark.parametrize("order", ["ab", "ba", None])
@pytest.mark.parametrize("preferred", ["A", "B"])
def test_the_preferred_response_and_the_one_shown_first_stay_what_they_are(
    preferred: str, order: str | None, smaller_first: bool, form: str
) -> None:
    """Told by the texts alone, for every verdict, order shown and order of the ids."""
    texts = dict(zip("AB", responses_in_order(smaller_first), strict=True))
    said = FORMS[preferred][form]
    row = take_in(record(response_a=texts["A"], response_b=texts["B"], order=order, **said))
    assert row["response_a"] < row["response_b"]
    winner = row["texts"][0] if row["p_a"] > 0.5 else row["texts"][1]
    assert winner == texts[preferred]
    sure = 0.75 if form == "p_a" else 1.0
    assert max(row["p_a"], 1 - row["p_a"]) == sure
    if order is None:
        assert row["order"] is None
    else:
        shown_first = row["texts"][0] if row["order"] == "ab" else row["texts"][1]
        assert shown_first == texts[order[0].upper()]
    detail = json.loads(row["detail"])
    assert detail["mirrored"] == (row["texts"] != (texts["A"], texts["B"]))
    if form == "score":
        better, worse = ("score_a", "score_b") if row["p_a"] > 0.5 else ("score_b", "score_a")
        assert (detail[better], detail[worse]) == (4, 1)


numbers = st.floats(0, 1) | st.sampled_from([0, 1, 0.5])


@given(numbers, st.sampled_from(["ab", "ba", None]), st.integers(0, 30))
@example(0.5, "ab", 0)
def test_a_record_and_its_mirror_are_stored_alike(p_a: float, order: str | None, n: int) -> None:
    """Swapping the two responses of a record, with all that it says of them, changes nothing."""
    one, two = responses_in_order(True, str(n))
    turned = {"ab": "ba", "ba": "ab", None: None}[order]
    straight = take_in(record(response_a=one, response_b=two, p_a=p_a, order=order))
    mirrored = take_in(record(response_a=two, response_b=one, p_a=1 - p_a, order=turned))
    same = ("annotator", "response_a", "response_b", "order", "texts", "tie", "valid")
    assert [straight[key] for key in same] == [mirrored[key] for key in same]
    assert straight["p_a"] == pytest.approx(mirrored["p_a"], abs=1e-12)


@pytest.mark.parametrize(
    ("said", "p_first", "tie"),
    [
        ({"verdict": "A"}, 1.0, False),
        ({"verdict": " b "}, 0.0, False),
        ({"verdict": "tie"}, 0.5, True),
        ({"p_a": 0.5}, 0.5, False),  # it did not call it a tie
        ({"p_a": 1}, 1.0, False),
        ({"score_a": 2, "score_b": 2.0}, 0.5, True),
        ({"score_a": -3, "score_b": -1}, 0.0, False),
        ({"p_a": 0.7, "verdict": "A", "score_a": 9, "score_b": 1}, 0.7, False),
        ({"p_a": 0.5, "verdict": "tie"}, 0.5, True),
        ({"p_a": None, "verdict": None, "score_a": 3, "score_b": 1}, 1.0, False),
    ],
)
def test_what_a_record_says(said: dict[str, Any], p_first: float, tie: bool) -> None:
    comparison = read(**{"verdict": ..., **said})
    assert (comparison.p_first, comparison.tie, comparison.valid) == (p_first, tie, True)


REFUSED = [
    ({"responce_a": "x"}, "unknown key 'responce_a'; did you mean 'response_a'?"),
    ({"zzz": 1}, "unknown key 'zzz'"),
    ({"annotator": ...}, "annotator is missing"),
    ({"annotator": " "}, "annotator is empty"),
    ({"annotator": 7}, "annotator is of type int, not text"),
    ({"kind": ...}, "kind is missing"),
    ({"kind": "humann"}, f"kind is none of {', '.join(JUDGMENT_KINDS)}; did you mean 'human'?"),
    ({"kind": "LLM"}, f"kind is none of {', '.join(JUDGMENT_KINDS)}; did you mean 'llm'?"),
    ({"prompt": ...}, "prompt is missing"),
    ({"prompt": ""}, "empty prompt"),
    ({"prompt": []}, "empty prompt"),
    ({"prompt": True}, "prompt is not text or a list of messages"),
    ({"prompt": [{"role": "user"}]}, "prompt holds a message without role or text"),
    ({"response_a": True}, "response_a is a boolean, not text"),
    ({"response_b": None}, "response_b is missing"),
    ({"verdict": ...}, "no p_a, no verdict and no score_a with score_b"),
    ({"verdict": None}, "no p_a, no verdict and no score_a with score_b"),
    ({"verdict": ..., "raw": "Hm."}, "no p_a, no verdict and no score_a with score_b"),
    ({"verdict": "C"}, "verdict is none of A, B, tie"),
    ({"verdict": True}, "verdict is a boolean, not text"),
    ({"verdict": 1}, "verdict is of type int, not text"),
    ({"p_a": 1.01}, "p_a is outside [0, 1]"),
    ({"p_a": -1e-9}, "p_a is outside [0, 1]"),
    ({"p_a": float("nan")}, "p_a is not a finite number"),
    ({"p_a": True}, "p_a is a boolean, not a number"),
    ({"p_a": "0.5"}, "p_a is text, not a number"),
    ({"score_a": 1}, "score_b is missing"),
    ({"score_b": 1}, "score_a is missing"),
    ({"score_a": 1, "score_b": float("inf")}, "score_b is not a finite number"),
    ({"score_a": 10**400, "score_b": 1}, "score_a is not a finite number"),
    ({"p_a": 0.4, "verdict": "A"}, "p_a disagrees with verdict"),
    ({"p_a": 0.5, "verdict": "B"}, "p_a disagrees with verdict"),
    ({"verdict": "tie", "score_a": 1, "score_b": 2}, "verdict disagrees with score_a and score_b"),
    ({"p_a": 0.9, "score_a": 1, "score_b": 2}, "p_a disagrees with score_a and score_b"),
    ({"order": "AB"}, "order is neither ab nor ba"),
    ({"sample_index": -1}, "sample_index is not an integer from 0"),
    ({"sample_index": 0.5}, "sample_index is not an integer from 0"),
    ({"sample_index": False}, "sample_index is a boolean, not a number"),
    ({"tokens_in": 2**63}, "tokens_in is not an integer from 0"),
    ({"tokens_out": "12"}, "tokens_out is text, not a number"),
    ({"seconds": -0.1}, "seconds is less than 0"),
    ({"gold": "true"}, "gold is neither true nor false"),
    ({"gold": 1}, "gold is neither true nor false"),
    ({"verdict": None, "raw": "Hm.", "gold": True},
     "gold is true and there is no p_a, verdict or score"),
    ({"raw": True}, "raw is a boolean, not text"),
    ({"critique": ["x"]}, "critique is of type list, not text"),
    ({"criterion": 3}, "criterion is of type int, not text"),
    ({"category": False}, "category is a boolean, not text"),
    ({"licence": 3}, "licence is of type int, not text"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_what_cannot_be_used_is_refused_with_the_key(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        read(**changes)


FUZZED = sorted(KNOWN - {"response_b"})  # so that the two responses differ
values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["A", "tie", "ab", "human", 0.5, 1]) | st.lists(st.none(), max_size=1)
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(FUZZED) | st.text(max_size=3), values, max_size=6))
def test_a_record_of_anything_is_read_whole_or_refused(changes: dict[str, Any]) -> None:
    """What is read keeps the contract of the lake: nothing that counts as kept is lost there."""
    try:
        comparison = read(**changes)
    except ValueError:
        return
    assert comparison.valid == (comparison.p_first is not None)
    assert comparison.valid or (comparison.reason, comparison.raw is None) == ("no verdict", False)
    row = {k: v for k, v in take_in(record(**changes)).items() if k != "texts"}
    good, bad = validate("judgments", to_frame("judgments", [row], Run("r")), "import")
    assert (len(good), bad) == (1, [])
