"""Scores of benchmarks, reckoned by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ship.exams.items import Item, give_credit
from pipelines.ship.exams.reading import read_exam_set
from pipelines.ship.exams.scoring import (
    compare_ledgers,
    keep_guesses,
    keep_ledger,
    score_set,
    summarise,
)
from tests.pipelines.ship.exams import papers


def score(folder: Path, rows: Sequence[papers.Row], rewards: Sequence[Sequence[float]]) -> dict:
    found = read_exam_set(papers.write(folder / "x.jsonl", rows))
    return score_set(found.name, found.items, [np.asarray(r, dtype=float) for r in rewards], 1)


def make_pair(key: str, category: str = "c") -> Item:
    prompt = ({"role": "user", "content": key},)
    return Item(key, prompt, ("a", "b"), (True, False), category, "s")


def test_the_best_of_four_and_what_shares_it(tmp_path: Path) -> None:
    rows = [papers.best_of_four(str(i), "Math" if i < 3 else "Focus") for i in range(4)]
    found = score(tmp_path, rows, [[2, 1, 1, 0], [1, 2, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    assert found["by_category"]["Math"]["score"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["by_category"]["Focus"]["score"] == 1
    assert found["score"] == pytest.approx((0.5 + 1) / 2)  # categories count alike
    assert (found["n"], found["prompts"]) == (4, 4)


def test_ties_as_their_authors_score_them(tmp_path: Path) -> None:
    """Question 1: both forms right; tied gap 1, spread 0.5, reference gap 2. Question 2: the tied
    form is wrong by 1 at a spread of 2, the reference gap is 3. Question 3 has one form alone."""
    rows = [
        papers.tie("ref", 1, 1, 2), papers.tie("tied", 1, 2, 2),
        papers.tie("ref", 2, 1, 1), papers.tie("tied", 2, 2, 1),
        papers.tie("ref", 3, 1, 1),
    ]  # fmt: skip
    rewards = [[3, 1, 0], [2.5, 2, 1, 0], [3, 0], [4, 2, 3], [0, 1]]
    found = score(tmp_path, rows, rewards)
    margin = (math.tanh(1 / 0.5 - 1) + math.tanh(-1 / 2 - 1)) / 2
    expected = 0.3 * 2 / 3 + 0.3 * 1 / 2 + 0.2 * 1 / 2 + 0.2 * 1 / 2 + 0.01 * margin
    assert found["by_category"]["Ties"]["score"] == pytest.approx(expected)
    assert found["score"] == pytest.approx(expected)
    assert found["ties"]["ties, one right"] == pytest.approx(2 / 3)
    rows.append(papers.best_of_four("9", "Math"))
    with_math = score(tmp_path, rows, [*rewards, [1, 0, 0, 0]])
    assert with_math["score"] == pytest.approx((expected + 1) / 2)


def test_ties_without_any_spread(tmp_path: Path) -> None:
    rows = [papers.tie("ref", 1, 1, 1), papers.tie("tied", 1, 2, 1)]
    perfect = score(tmp_path, rows, [[1, 0], [1, 1, 0]])
    assert perfect["score"] == pytest.approx(1.01)
    blind = score(tmp_path, rows, [[0, 0], [0, 0, 0]])
    assert blind["score"] == pytest.approx(0)


def test_the_matrix_of_styles(tmp_path: Path) -> None:
    """One domain likes fancy text whatever it says; the other is always right; a third has half of
    the safety category."""
    rows = [papers.styled("1", "chat"), papers.styled("2", "safety-refuse"),
            papers.styled("3", "safety-response")]  # fmt: skip
    style = [1, 2, 3, 1, 2, 3]
    right, wrong = [9, 9, 9, 0, 0, 0], [0, 0, 0, 9, 9, 9]
    found = score(tmp_path, rows, [style, right, wrong])
    # chat: below the diagonal 1, on it 1/2, above 0; safety: 1 and 0, so 1/2 throughout
    assert found["styles"]["easy"] == pytest.approx(0.75)
    assert found["styles"]["normal"] == pytest.approx(0.5)
    assert found["styles"]["hard"] == pytest.approx(0.25)
    assert found["styles"]["gap"] == pytest.approx(0.5)
    assert found["styles"]["matrix"][2][0] == pytest.approx(0.75)
    assert found["by_category"]["safety"]["score"] == pytest.approx(0.5)
    assert found["score"] == pytest.approx(0.5)


def test_a_domain_of_many_rows_weighs_no_more(tmp_path: Path) -> None:
    rows = [papers.styled(str(i), "safety-refuse") for i in range(3)]
    rows.append(papers.styled("9", "safety-response"))
    good, bad = [9, 9, 9, 0, 0, 0], [0, 0, 0, 9, 9, 9]
    assert score(tmp_path, rows, [good] * 3 + [bad])["score"] == pytest.approx(0.5)


def test_judgebench_is_a_mean_of_pairs_and_ppe_of_files(tmp_path: Path) -> None:
    rows = [papers.judged(str(i), "mmlu-pro" if i < 3 else "livecodebench", "A>B")
            for i in range(4)]  # fmt: skip
    assert score(tmp_path, rows, [[1, 0], [1, 0], [1, 0], [0, 1]])["score"] == 0.75
    papers.write(tmp_path / "ppe/a.jsonl", [papers.sampled(str(i), [True, False], None)
                                            for i in range(3)])  # fmt: skip
    papers.write(tmp_path / "ppe/b.jsonl", [papers.sampled("9", [True, False, False],
                                            [[0, 1], [0, 2]])])  # fmt: skip
    found = read_exam_set(str(tmp_path / "ppe"))
    rewards = [np.asarray(r, dtype=float) for r in ([1, 0], [1, 0], [1, 0], [1, 0, 2])]
    by_file = score_set(found.name, found.items, rewards, 1)
    assert by_file["by_category"]["b"]["score"] == 0.5
    assert by_file["score"] == pytest.approx((1 + 0.5) / 2)


def test_math_counts_as_much_as_code_in_the_first_rewardbench(tmp_path: Path) -> None:
    rows = [papers.old("1", "math-prm"), papers.old("2", "hep-go"), papers.old("3", "hep-go"),
            papers.old("4", "hep-js"), papers.old("5", "donotanswer")]  # fmt: skip
    found = score(tmp_path, rows, [[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])
    reasoning = 0.5 * 1 + 0.5 * (1 / 3)
    assert found["by_category"]["Reasoning"]["score"] == pytest.approx(reasoning)
    assert found["score"] == pytest.approx((reasoning + 1) / 2)


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=8),
    st.floats(0.1, 5),
)
def test_only_the_order_of_rewards_counts(rewards: list[list[int]], scale: float) -> None:
    items = [
        Item(str(i), ({"role": "user", "content": str(i)},), ("a", "b", "c", "d"),
             (True, False, False, False), "c", "s")
        for i in range(len(rewards))
    ]  # fmt: skip
    plain = [np.asarray(r, dtype=float) for r in rewards]
    scaled = [scale * r + 7 for r in plain]
    for one, first, second in zip(items, plain, scaled, strict=True):
        assert give_credit(one, first) == give_credit(one, second)
    assert keep_ledger("RMB", items, plain) == keep_ledger("RMB", items, scaled)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_a_difference_is_antisymmetric_and_lies_in_its_interval(
    won: list[tuple[bool, bool]],
) -> None:
    items = [make_pair(str(i % 7)) for i in range(len(won))]
    ledgers = [
        keep_ledger("x", items, [np.asarray([w[side], 0.5]) for w in won]) for side in (0, 1)
    ]
    ahead = compare_ledgers(*ledgers, 3)
    behind = compare_ledgers(*ledgers[::-1], 3)
    assert ahead.value == pytest.approx(-behind.value)
    assert (ahead.low, ahead.high) == pytest.approx((-behind.high, -behind.low))
    assert ahead.low - 1e-9 <= ahead.value <= ahead.high + 1e-9
    same = compare_ledgers(ledgers[0], ledgers[0], 3)
    assert same.value == 0 and same.low == -same.high < 0


def test_scores_of_different_items_are_not_paired() -> None:
    both = [keep_ledger("x", [make_pair(str(i)) for i in range(n)], [np.zeros(2)] * n)
            for n in (3, 4)]  # fmt: skip
    with pytest.raises(ValueError, match="different items"):
        compare_ledgers(*both, 1)


def test_an_interval_is_over_prompts_not_rows() -> None:
    won = [np.asarray([1.0, 0.0])] * 20 + [np.asarray([0.0, 1.0])] * 20
    apart = [make_pair(str(i)) for i in range(40)]
    together = [make_pair(str(i // 10)) for i in range(40)]
    wide = summarise(keep_ledger("x", together, won), together, 1)["ci"]
    narrow = summarise(keep_ledger("x", apart, won), apart, 1)["ci"]
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_what_a_coin_expects(tmp_path: Path) -> None:
    def guess(*rows: papers.Row) -> float:
        found = read_exam_set(papers.write(tmp_path / "x.jsonl", rows))
        return keep_guesses(found.name, found.items).tally().score()

    assert guess(papers.best_of_four("1", "Math")) == 0.25
    assert guess(papers.styled("1", "chat")) == 0.5
    assert guess(papers.judged("1", "x", "A>B")) == 0.5
    ties = [papers.tie(part, q, 1 if part == "ref" else 2, 2) for q in range(30)
            for part in ("ref", "tied")]  # fmt: skip
    # every right one above every wrong one: 1/3 of the reference forms, 1/6 of the tied ones
    assert guess(*ties) == pytest.approx(0.3 / 3 + 0.3 / 6 + 0.2 * 2 / 12, abs=0.05)
