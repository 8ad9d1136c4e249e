"""What a batch must reach before it is released, one gate at a time."""

from __future__ import annotations

import math

import polars as pl
import pytest

from annotators.people.agreement import measure_alpha
from annotators.people.annotations import take_latest
from annotators.people.gates import Bars, Gate, check_gates
from tests.annotators.people.crowd import make_annotations, say

GOOD = {"x": "ab" * 20, "y": "ab" * 19 + "aa"}
BARS = Bars()


def make_gold(letters: str) -> pl.DataFrame:
    return make_annotations(say({"gold": letters})).select("item", "label")


def check(
    said: dict[str, str], gold: str = "ab" * 20, bars: Bars = BARS
) -> tuple[bool, dict[str, Gate]]:
    (report,) = check_gates(make_annotations(say(said)), make_gold(gold), bars)
    return report.passed, {gate.name: gate for gate in report.gates}


def test_a_good_batch_passes_and_says_what_was_measured() -> None:
    passed, gates = check(GOOD)
    assert passed
    assert [gate.value for gate in gates.values()] == [
        1.0,
        measure_alpha(take_latest(make_annotations(say(GOOD)))).value,
        80,
        79 / 80,
    ]
    assert [gate.bar for gate in gates.values()] == [0.95, 0.667, 30, 0.8]
    assert gates["overlap"].sentence == (
        "40 of 40 items (100.0%) were answered by 2 people or more; 95% must be"
    )
    assert gates["alpha"].sentence.startswith("Krippendorff's alpha is 0.951 (95 % interval 0.")
    assert gates["gold_accuracy"].sentence == (
        "79 of 80 labels on hidden gold are right (98.8%, 95 % interval 93.3% to 99.8%); "
        "80% must be"
    )


@pytest.mark.parametrize(
    ("said", "gold", "failed"),
    [
        ({"x": "ab" * 20, "y": "ab" * 18 + "----"}, "ab" * 20, {"overlap"}),
        ({"x": "ab" * 20, "y": "ab" * 14 + "ba" * 6}, "ab" * 10, {"alpha"}),
        (GOOD, "ab" * 7, {"gold_labels"}),
        (GOOD, "aa" * 20, {"gold_accuracy"}),
        ({"x": "ab" * 20}, "-" * 40, {"overlap", "alpha", "gold_labels", "gold_accuracy"}),
    ],
)
def test_each_gate_fails_alone(said: dict[str, str], gold: str, failed: set[str]) -> None:
    passed, gates = check(said, gold)
    assert not passed
    assert {name for name, gate in gates.items() if not gate.passed} == failed


def test_what_cannot_be_measured_does_not_pass() -> None:
    lonely = check({"x": "ab" * 20})[1]["alpha"]
    assert (lonely.value, lonely.passed) == (None, False)
    assert lonely.sentence == "agreement cannot be told from chance: no item has two labels"
    blind = check(GOOD, "-" * 40)[1]["gold_accuracy"]
    assert (blind.value, blind.passed) == (None, False)
    assert blind.sentence == "no item of hidden gold has a label, so accuracy is not known"


def test_perfect_agreement_on_one_label_is_for_hidden_gold_to_decide() -> None:
    same = {"x": "a" * 40, "y": "a" * 40}
    for gold, passed in (
        ("a" * 40, True),
        ("a" * 14, False),
        ("ab" * 20, False),
        ("-" * 40, False),
    ):
        alpha = check(same, gold)[1]["alpha"]
        assert (alpha.value, alpha.passed) == (None, passed)
        assert alpha.sentence.startswith("all labels of the 40 items with two or more are the same")
        assert ("which decides instead" if passed else "review.gold_rate") in alpha.sentence
    assert check(same, "a" * 40)[0]
    assert check(same, "-" * 40, Bars(alpha=-1))[1]["alpha"].passed
    almost = {"x": "a" * 40, "y": "a" * 39 + "b"}  # one who differs, and alpha is defined
    assert check(almost, "a" * 40)[1]["alpha"].value is not None
    assert not check(almost, "a" * 40)[0]


def test_the_bar_itself_passes() -> None:
    measured = check(GOOD)[1]
    bars = Bars(alpha=measured["alpha"].value or 0, gold_accuracy=79 / 80, gold_labels=80,
                overlap_share=1.0)  # fmt: skip
    assert check(GOOD, bars=bars)[0]
    above = Bars(gold_accuracy=math.nextafter(79 / 80, 1))
    assert not check(GOOD, bars=above)[0]


def test_cannot_decide_is_seen_but_no_label() -> None:
    passed, gates = check({"x": "ab" * 20, "y": "ab" * 15 + "?" * 10})
    assert passed
    assert gates["overlap"].value == 1.0
    assert gates["gold_labels"].value == 70
    assert "over 30 items" in gates["alpha"].sentence


def test_overlap_of_three() -> None:
    bars = Bars(overlap=3)
    assert check(GOOD, bars=bars)[1]["overlap"].value == 0.0
    assert check({**GOOD, "z": "ab" * 20}, bars=bars)[1]["overlap"].value == 1.0


def test_batches_pass_apart_and_none_gives_none() -> None:
    rows = make_annotations([*say(GOOD, batch="good"), *say({"x": "ab" * 20}, batch="alone")])
    reports = check_gates(rows, make_gold("ab" * 20))
    assert [(report.batch, report.passed) for report in reports] == [
        ("alone", False), ("good", True),
    ]  # fmt: skip
    assert check_gates(rows.clear(), make_gold("ab")) == ()
