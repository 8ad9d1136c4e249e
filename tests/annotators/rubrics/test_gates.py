"""Gates: what a request plainly asks of the form, and responses that keep it or do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.rubrics.gates import GATES, count_units, read_request

CASES = [
    # gate, request, response, passed (None: the request asks no such thing)
    ("not_empty", "Hi", "Hello", True),
    ("not_empty", "Hi", " \n\t", False),
    ("not_empty", "Hi", "...!?", False),
    ("not_empty", "Hi", "42", True),
    ("not_empty", "Hi", "你好", True),
    ("length", "Say why.", "Because.", None),
    ("length", "In at most five words, say why.", "It is too far away", True),
    ("length", "In at most five words, say why.", "It is much too far away", False),
    ("length", "No more than 2 sentences please.", "One. Two.", True),
    ("length", "No more than 2 sentences please.", "One. Two! Three?", False),
    ("length", "Two sentences or less.", "One. Two. Three.", False),
    ("length", "Use under 4 words.", "just three words", True),
    ("length", "Use under 4 words.", "now four words here", False),
    ("length", "Write at least 3 lines.", "a\nb\n\nc", True),
    ("length", "Write at least 3 lines.", "a\nb", False),
    ("length", "No fewer than 3 lines.", "a\nb", False),
    ("length", "Exactly two paragraphs.", "a\nb\n\nc", True),
    ("length", "Exactly two paragraphs.", "a\n\nb\n\nc", False),
    ("length", "Answer in one sentence.", "It weighs 3.5 kg.", True),
    ("length", "Answer in one sentence.", "It does. Really.", False),
    ("length", "Answer in one sentence or two.", "It does. Really.", None),
    ("length", "Between 3 and 5 words.", "one two", False),
    ("length", "Between 3 and 5 words.", "one two three", True),
    ("length", "Give exactly 2 bullet points.", "- a\n- b\n- c", False),
    ("length", "At most 10 characters.", "  short  ", True),
    ("length", "At most 10 characters.", "rather long", False),
    ("format", "List them.", "a, b", None),
    ("format", "Return a JSON object.", '{"a": 1}', True),
    ("format", "Return a JSON object.", '```json\n{"a": 1}\n```', True),
    ("format", "Return a JSON object.", 'Here: {"a": 1}', False),
    ("format", "Answer in JSON.", "17", False),
    ("format", "What is JSON good for?", "Exchange.", None),
    ("format", "Use bullet points.", "- a\n- b", True),
    ("format", "Use bullet points.", "a and b", False),
    ("format", "Do not use bullet points.", "a and b", None),
    ("format", "Give numbered steps.", "1. a\n2. b", True),
    ("format", "Give numbered steps.", "first a, then b", False),
    ("format", "Compare them in a table.", "| a | b |\n| 1 | 2 |", True),
    ("format", "A table as bullet points, or in a table?", "x", None),
    ("script", "Say hello.", "Привет", None),
    ("script", "Reply in Russian.", "Привет, друг", True),
    ("script", "Reply in Russian.", "Hello, friend", False),
    ("script", "Please write a poem in Japanese.", "ねこはかわいい、猫", True),
    ("script", "Translate this from Greek to English: καλημέρα", "good morning", True),
    ("script", "Translate this from Greek to English: καλημέρα", "καλημέρα", False),
    ("script", "Write it in French and translate it into Thai.", "x", None),
    ("script", "Reply in Korean.", "123", None),
    ("must_include", "Write about rain.", "Rain.", None),
    ("must_include", 'Include the word "amber".', "An Amber light.", True),
    ("must_include", 'Include the word "amber".', "Ambergris.", False),
    ("must_include", "Use the words 'oak' and 'elm'.", "An oak by an elm.", True),
    ("must_include", "Use the words 'oak' and 'elm'.", "An oak.", False),
    ("must_include", 'Do not use the word "very".', "A fine day.", True),
    ("must_include", 'Do not use the word "very".', "A very fine day.", False),
    ("must_include", "Use the word “oak” without mentioning the word “elm”.", "An oak.", True),
    ("must_include", "Use the word “oak” without mentioning the word “elm”.", "Oak, elm.", False),
    ("no_refusal", "How?", "I'm sorry, but I can't help with that.", False),
    ("no_refusal", "How?", "I’m unable to say.", False),
    ("no_refusal", "How?", "I cannot provide instructions for this.", False),
    ("no_refusal", "How?", "You cannot provide it by post; go there.", True),
    ("no_refusal", "How?", "I'm sorry to hear that. Call your doctor.", True),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "request_", "response", "passed"), CASES)
def test_a_gate(gate: str, request_: str, response: str, passed: bool | None) -> None:
    asked = read_request([{"role": "user", "content": request_}])
    finding = GATES[gate](asked, response)
    assert (None if finding is None else finding.passed) == passed
    assert finding is None or finding.reason


def test_every_gate_is_tried_both_ways() -> None:
    for gate in GATES:
        assert {passed for name, _, _, passed in CASES if name == gate} >= {True, False}


def test_a_broken_limit_is_told_in_numbers() -> None:
    finding = GATES["length"]("At most two words.", "one two three")
    assert finding is not None and finding.reason == "3 words, asked for 0 to 2"


@given(st.sampled_from(sorted(GATES)), st.text(max_size=200), st.text(max_size=200))
def test_no_text_breaks_a_gate(gate: str, request_: str, response: str) -> None:
    finding = GATES[gate](request_, response)
    assert finding is None or isinstance(finding.passed, bool)


def test_only_the_system_and_the_last_message_ask() -> None:
    messages = [
        {"role": "system", "content": "Reply in Greek."},
        {"role": "user", "content": "In one sentence?"},
        {"role": "assistant", "content": "Use bullet points."},
        {"role": "user", "content": "And now say “more”."},
    ]
    assert read_request(messages) == 'Reply in Greek.\n\nAnd now say "more".'


@pytest.mark.parametrize(
    "unit", ["word", "sentence", "character", "line", "paragraph", "bullet point"]
)
def test_nothing_has_no_units(unit: str) -> None:
    assert count_units("", unit) == count_units(" \n", unit) == 0
