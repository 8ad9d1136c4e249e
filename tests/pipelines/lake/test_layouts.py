"""Layouts: every one is found and read, and odd rows are refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.lake.layouts import (
    ASSISTANT,
    HUMAN,
    LAYOUTS,
    ImportedRow,
    detect_layout,
    read_row,
    read_verdict,
)
from tests.pipelines.lake.pools import (
    EXAMPLES,
    FINEGRAINED,
    HH,
    IMPLICIT,
    PANDALM,
    TRL,
    ULTRA,
    USER,
)


def opinions(row: ImportedRow) -> list[tuple[int, int, str, str, float | None]]:
    return [(c.i, c.j, c.annotator_suffix, c.kind, c.p_first) for c in row.comparisons]


@pytest.mark.parametrize("layout", EXAMPLES)
def test_each_layout_is_found_from_the_keys(layout: str) -> None:
    assert detect_layout(EXAMPLES[layout]) == layout


def test_every_layout_has_an_example() -> None:
    assert set(EXAMPLES) == set(LAYOUTS)


def test_keys_of_no_layout_are_not_guessed_at() -> None:
    assert detect_layout({"text": "a", "label": 1}) is None
    assert detect_layout({"chosen": "no transcript", "rejected": "and no prompt"}) is None


ASSISTANT_SAYS = [{"role": "assistant", "content": "Because."}]
ASSISTANT_DENIES = [{"role": "assistant", "content": "No."}]
SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (TRL, [USER]),
        ({**TRL, "prompt": [SYSTEM, USER]}, [SYSTEM, USER]),
        (
            {"prompt": [USER], "chosen": ASSISTANT_SAYS, "rejected": ASSISTANT_DENIES},
            [USER],
        ),
        # the prompt is repeated in front of the answers, as in ultrafeedback_binarized
        ({"prompt": "Why?", **IMPLICIT}, [USER]),
        ({**TRL, "prompt": f"{HUMAN} Why?{ASSISTANT}"}, [USER]),
        (
            {
                "prompt": [{"from": "human", "value": "Why?"}],
                "chosen": [{"from": "gpt", "value": "Because."}],
                "rejected": [{"from": "gpt", "value": "No."}],
            },
            [USER],
        ),
    ],
)
def test_trl_prompts_in_all_their_forms(row: dict[str, Any], messages: list[Any]) -> None:
    read = read_row("trl", row)
    assert list(read.messages) == messages
    assert read.responses == ("Because.", "No.")
    assert opinions(read) == [(0, 1, "", "import", 1.0)]


def test_trl_implicit_takes_the_shared_prefix_as_the_prompt() -> None:
    read = read_row("trl_implicit", IMPLICIT)
    assert read.messages == (USER,)
    assert read.responses == ("Because.", "No.")


def test_hh_transcripts_become_turns() -> None:
    read = read_row("hh", HH)
    assert [(m["role"], m["content"]) for m in read.messages] == [
        ("user", "Why?"),
        ("assistant", "Hm."),
        ("user", "Well?"),
    ]
    assert read.responses == ("Because.", "No.")


turn = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1).map(
    str.strip
)


@given(turns=st.lists(turn, min_size=1, max_size=5).filter(lambda t: len(t) % 2 == 1 and t[-1]))
def test_hh_gives_back_the_turns_that_were_written(turns: list[str]) -> None:
    speakers = [HUMAN, ASSISTANT] * 3
    context = "".join(f"{who} {text}" for who, text in zip(speakers, turns, strict=False))
    row = {"chosen": f"{context}{ASSISTANT} yes", "rejected": f"{context}{ASSISTANT} no"}
    assert [message["content"] for message in read_row("hh", row).messages] == turns


def test_ultrafeedback_holds_the_best_against_the_rest() -> None:
    read = read_row("ultrafeedback", ULTRA)
    assert opinions(read) == [
        (1, 0, "", "import", 1.0),
        (1, 2, "", "import", 0.5),
        (1, 3, "", "import", None),
    ]
    assert [c.tie for c in read.comparisons] == [False, True, False]
    assert read.comparisons[2].reason == "no overall_score"
    assert read.policies == ("m1", "m2", "m3", "m4")


def test_pandalm_keeps_every_annotator_apart() -> None:
    read = read_row("pandalm", PANDALM)
    assert read.messages[0]["content"] == "Rewrite.\n\nA text."
    assert opinions(read) == [
        (0, 1, "annotator1", "human", 1.0),
        (0, 1, "annotator2", "human", 0.0),
        (0, 1, "annotator3", "human", 0.5),
        (0, 1, "judge_gpt35", "llm", None),
        (0, 1, "judge_pandalm7b", "llm", 0.0),
    ]
    assert read.comparisons[3].reason == "no verdict"
    assert read.comparisons[3].raw == "garbage"
    assert read.policies == ("left-7b", "right-6.7B")


def test_pandalm_without_input_has_no_empty_paragraph() -> None:
    assert read_row("pandalm", {**PANDALM, "input": ""}).messages[0]["content"] == "Rewrite."


def test_finegrained_has_six_comparisons_in_order() -> None:
    read = read_row("finegrained", FINEGRAINED)
    assert [(c.i, c.j, c.p_first) for c in read.comparisons] == [
        (0, 1, 1.0),
        (0, 2, 0.0),
        (0, 3, 0.5),
        (1, 2, 1.0),
        (1, 3, 1.0),
        (2, 3, None),
    ]
    assert read.context == "Title\nOne. Two.\n\nOther\nThree."
    assert read.messages == (
        {"role": "user", "content": "Why?\n\nPassages:\n\nTitle\nOne. Two.\n\nOther\nThree."},
    )


def test_finegrained_without_passages_is_its_question() -> None:
    read = read_row("finegrained", {**FINEGRAINED, "passages": []})
    assert (read.messages, read.context) == ((USER,), None)


@pytest.mark.parametrize("value", [True, False, None, "", "3", 3, 1.5, "1 or 2", float("nan"), []])
def test_what_is_no_verdict_is_unscored_and_never_a_number(value: Any) -> None:
    read = read_verdict(value, "x", "llm")
    assert (read.valid, read.p_first, read.tie, read.reason) == (False, None, False, "no verdict")


@pytest.mark.parametrize(
    ("value", "p_first"), [(1, 1.0), ("2", 0.0), (0, 0.5), (" Tie\n", 0.5), (2.0, 0.0)]
)
def test_verdicts_are_read_in_all_their_forms(value: Any, p_first: float) -> None:
    read = read_verdict(value, "x", "llm")
    assert (read.valid, read.p_first, read.tie) == (True, p_first, p_first == 0.5)


@pytest.mark.parametrize(
    ("layout", "changes", "reason"),
    [
        ("hh", {"rejected": f"{HUMAN} What?{ASSISTANT} No."}, "contexts differ"),
        ("hh", {"rejected": HH["rejected"].removesuffix("No.")}, "empty response"),
        ("hh", {"chosen": "Because."}, "chosen is not a Human/Assistant transcript"),
        ("hh", {"chosen": HH["chosen"] + f"{HUMAN} So?"}, "chosen does not end with the assist"),
        ("hh", {"chosen": True}, "chosen is a boolean, not text"),
        ("trl", {"chosen": True}, "chosen is a boolean, not text"),
        ("trl", {"rejected": None}, "rejected is missing"),
        ("trl", {"rejected": 3}, "rejected is of type int, not text"),
        ("trl", {"prompt": " "}, "empty prompt"),
        ("trl", {"prompt": True}, "prompt is not text or a list of messages"),
        ("trl", {"chosen": "  "}, "empty response"),
        ("trl_implicit", {"rejected": ASSISTANT_DENIES}, "contexts differ"),
        ("trl_implicit", {"chosen": [USER]}, "chosen does not end with the assistant's turn"),
        ("trl_implicit", {"chosen": ["Why?"]}, "chosen holds something that is not a message"),
        ("trl_implicit", {"chosen": [{"role": "user"}]}, "without role or text"),
        ("ultrafeedback", {"completions": []}, "fewer than two completions"),
        ("ultrafeedback", {"completions": "none"}, "completions is not a list of objects"),
        (
            "ultrafeedback",
            {"completions": [{"response": "a"}, {"response": "b"}]},
            "no completion has an overall_score",
        ),
        ("pandalm", {"response1": True}, "response1 is a boolean, not text"),
        ("pandalm", {"response2": False}, "response2 is a boolean, not text"),
        ("finegrained", {"preference": [1, 2]}, "preference does not hold 6 comparisons"),
        ("finegrained", {"prediction 4": None}, "prediction 4 is missing"),
        ("finegrained", {"question": " "}, "empty prompt"),
    ],
)
def test_rows_that_cannot_be_used_say_why(
    layout: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        read_row(layout, {**EXAMPLES[layout], **changes})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
odd = st.one_of(texts, st.none(), st.booleans(), st.integers(), st.floats())


@given(
    row=st.one_of(
        st.fixed_dictionaries(dict.fromkeys(TRL, odd)),
        st.fixed_dictionaries(dict.fromkeys(PANDALM, odd)),
        st.fixed_dictionaries({"instruction": odd, "completions": st.lists(odd, max_size=3)}),
        st.fixed_dictionaries({"chosen": st.lists(odd), "rejected": st.lists(odd)}),
    )
)
def test_odd_rows_are_read_or_refused_and_never_crash(row: dict[str, Any]) -> None:
    layout = detect_layout(row)
    assert layout is not None
    try:
        read = read_row(layout, row)
    except ValueError:
        return
    assert len(read.policies) == len(read.responses) >= 2
    assert all(isinstance(text, str) for text in read.responses)
    assert all(c.valid == (c.p_first is not None) for c in read.comparisons)
