"""Evolution: it finds what was planted, leaves a rubric alone where there is nothing to find, and
pays only for what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.rubrics.evolve import (
    Edit,
    GoldPair,
    GoldTooSmall,
    ScoreBook,
    apply_edit,
    bootstrap_mean,
    check_item,
    evolve_rubric,
    rate_pairs,
    split_gold,
)
from annotators.rubrics.rubric import Criterion, Kind, Rubric
from annotators.talk import Item
from tests.annotators.judging import make_item
from tests.annotators.rubrics.planted import (
    count_words,
    follow,
    make_criterion,
    make_pairs,
    make_rubric,
    propose_at_random,
    toss,
)

START = make_rubric({"birch": "core", "joust": "important"})
EVEN: dict[str, Kind] = {"amber": "core", "delta": "core", "heath": "core"}
RANKED: dict[str, Kind] = {"amber": "hard", "delta": "core", "heath": "highlight"}


def titles(rubric: Rubric) -> set[str]:
    return {criterion.title for criterion in rubric.criteria}


@pytest.mark.parametrize(
    ("kinds", "noise", "seed"), [(EVEN, 0.0, 0), (EVEN, 0.1, 1), (RANKED, 0.0, 2)]
)
def test_the_planted_criteria_are_found(kinds: dict[str, Kind], noise: float, seed: int) -> None:
    planted = make_rubric(kinds)
    gold = make_pairs(300, seed, follow(planted, noise))
    found = evolve_rubric(
        START, count_words, gold, propose_at_random(seed), rounds=20, seed=seed
    )  # fmt: skip
    assert found.recommended and found.best is found.candidate
    assert titles(found.best) == titles(planted)
    assert found.interval[0] < found.gain < found.interval[1]
    assert found.test_agreement[1] >= 1 - 1.7 * noise
    assert found.test_agreement[1] - found.test_agreement[0] == pytest.approx(found.gain)
    assert (found.dev_pairs, found.test_pairs) == (180, 120)
    assert found.best.version == START.version + 1
    for word in kinds:
        assert f"+- title: {word}" in found.diff
    assert "-- title: birch" in found.diff


def test_where_gold_is_noise_the_rubric_stays_as_it_is() -> None:
    """The dev part always offers some gain; the held-out part sees through it."""
    replaced, seeming = 0, 0
    for seed in range(5):
        gold = make_pairs(120, seed, toss)
        found = evolve_rubric(
            START, count_words, gold, propose_at_random(seed), rounds=4, seed=seed
        )  # fmt: skip
        seeming += found.candidate is not START
        replaced += found.recommended
        assert found.recommended or (found.best is START and found.interval[0] <= 0)
    assert seeming >= 4 and replaced == 0


def test_the_planted_rubric_itself_is_left_alone() -> None:
    planted = make_rubric(EVEN)
    gold = make_pairs(60, 3, follow(planted))
    found = evolve_rubric(planted, count_words, gold, propose_at_random(3), rounds=3)
    assert titles(found.best) == titles(planted) and not found.recommended
    assert found.gain == 0


def test_a_proposer_with_nothing_to_say_ends_it() -> None:
    gold = make_pairs(40, 1, toss)
    asked = Counter[str]()

    def nothing(rubric: Rubric, wrong: Sequence[GoldPair], count: int) -> list[Edit]:
        asked["times"] += 1
        assert count == 3 and 0 < len(wrong) <= 6
        return []

    found = evolve_rubric(START, count_words, gold, nothing, rounds=50)
    assert found.candidate is START and found.diff == "" and asked["times"] == 2
    assert found.interval == (0.0, 0.0) and len(found.history) == 1


def test_each_pair_and_criterion_is_scored_once_and_the_test_part_only_at_the_end() -> None:
    gold = make_pairs(60, 5, follow(make_rubric(EVEN)))
    dev, test = split_gold(gold, 5)
    held_out = {pair.item.target for pair in test}
    scored = Counter[tuple[str, str]]()

    def judge(criterion: Criterion, items: Sequence[Item]) -> list[float]:
        scored.update((criterion.title, item.target) for item in items)
        return count_words(criterion, items)

    found = evolve_rubric(START, judge, gold, propose_at_random(5), rounds=5, seed=5)
    assert max(scored.values()) == 1 and found.scored == scored.total()
    final = titles(START) | titles(found.candidate)
    assert {title for title, target in scored if target in held_out} == final
    assert len(dev) + len(test) == 60


def test_history_gives_every_rubric_its_edit_and_fitness() -> None:
    gold = make_pairs(60, 2, follow(make_rubric(EVEN)))
    found = evolve_rubric(START, count_words, gold, propose_at_random(2), rounds=4, seed=2)
    first, *others = found.history
    assert first.edit is None and first.rubric is START and first.generation == 0
    assert all(step.edit is not None and step.generation >= 1 for step in others)
    assert all(step.fitness < step.agreement for step in found.history)
    tried = [frozenset(step.rubric.criteria) for step in found.history]
    assert len(set(tried)) == len(tried)
    best = max(found.history, key=lambda step: step.fitness).rubric
    assert best.criteria == found.candidate.criteria


def test_length_has_a_price() -> None:
    """Of two rubrics that agree equally well the shorter wins, if tokens cost anything."""
    wordy = Criterion("amber", "It has the word amber, " + "as said before, " * 20, "core")
    gold = make_pairs(40, 7, follow(make_rubric({"amber": "core"})))

    def shorten(rubric: Rubric, *_: object) -> list[Edit]:
        return [Edit("modify", "amber", make_criterion("amber"))]

    start = Rubric("long", 1, ("*",), (wordy,))
    assert evolve_rubric(start, count_words, gold, shorten).candidate.criteria != start.criteria
    free = evolve_rubric(start, count_words, gold, shorten, token_price=0)
    assert free.candidate is start and not free.recommended


@pytest.mark.parametrize(
    ("edit", "kept"),
    [
        (Edit("add", criterion=make_criterion("cedar")), ["birch", "joust", "cedar"]),
        (Edit("add", criterion=make_criterion("birch", "hard")), None),
        (Edit("add"), None),
        (Edit("delete", "birch"), ["joust"]),
        (Edit("delete", "cedar"), None),
        (Edit("modify", "birch", make_criterion("cedar")), ["cedar", "joust"]),
        (Edit("modify", "birch", make_criterion("joust")), None),
        (Edit("modify", "birch"), None),
    ],
)
def test_an_edit_is_made_or_refused(edit: Edit, kept: list[str] | None) -> None:
    edited = apply_edit(START, edit)
    assert (None if edited is None else [c.title for c in edited.criteria]) == kept


def test_edits_leave_gates_alone_and_something_to_judge() -> None:
    gate = Criterion("Not blank", "d", "hard", "not_empty", 0.0)
    rubric = Rubric("r", 1, ("*",), (gate, make_criterion("birch")))
    assert apply_edit(rubric, Edit("delete", "Not blank")) is None
    assert apply_edit(rubric, Edit("delete", "birch")) is None


def test_a_missing_score_leaves_the_criterion_out_of_that_pair() -> None:
    item = make_item("amber", "birch")
    side = 1.0 if item.contents[0] == "amber" else 0.0
    rubric = make_rubric({"amber": "core", "birch": "important"})
    checks = {item.response_ids: check_item(rubric, item)}

    def rate(*scores: float | None, gold: float = side) -> list[float]:
        given = iter(scores)
        return rate_pairs(
            rubric, [GoldPair(item, gold)], ScoreBook(lambda *_: [next(given)]), checks
        )

    towards = 2.0 if side else -2.0
    assert rate(towards, None) == [1.0] and rate(None, -towards) == [0.0]
    assert rate(None, None) == [0.5] and rate(None, None, gold=0.5) == [1.0]
    assert rate(towards, 0.0, gold=0.5) == [0.5]


def test_a_judge_that_miscounts_is_a_bug() -> None:
    gold = make_pairs(40, 1, toss)
    with pytest.raises(ValueError, match="zip"):
        evolve_rubric(START, lambda *_: [1.0], gold, propose_at_random(1))


@pytest.mark.parametrize("count", [0, 1, 19])
def test_too_little_gold_is_refused_with_the_number(count: int) -> None:
    with pytest.raises(GoldTooSmall, match=rf"{count} gold pairs .* at least 20"):
        evolve_rubric(START, count_words, make_pairs(count, 1, toss), propose_at_random(1))


def test_gold_on_one_prompt_cannot_be_split() -> None:
    one = make_pairs(30, 1, toss)
    same = [GoldPair(replace(pair.item, prompt_id="p"), pair.p_a) for pair in one]
    with pytest.raises(GoldTooSmall, match="on 1 prompts"):
        split_gold(same)


@given(st.integers(0, 100), st.integers(2, 12))
def test_a_prompt_is_on_one_side_of_the_split(seed: int, prompts: int) -> None:
    pairs = [
        GoldPair(replace(pair.item, prompt_id=f"p{place % prompts}"), pair.p_a)
        for place, pair in enumerate(make_pairs(24, 1, toss))
    ]
    dev, test = split_gold(pairs, seed)
    sides = [{pair.item.prompt_id for pair in part} for part in (dev, test)]
    assert all(sides) and not sides[0] & sides[1]
    assert len(dev) + len(test) == 24
    assert split_gold(pairs, seed) == (dev, test)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        low, high = bootstrap_mean(
            draw.normal(0.3, 1, 80), [f"p{i}" for i in range(80)], seed
        )  # fmt: skip
        covered += low <= 0.3 <= high
    assert 88 <= covered <= 99


def test_pairs_of_one_prompt_are_no_independent_evidence() -> None:
    values = np.repeat(np.random.default_rng(1).normal(0, 1, 20), 10)
    names = [f"p{i // 10}" for i in range(200)]
    by_prompt = bootstrap_mean(values, names)
    by_pair = bootstrap_mean(values, [str(i) for i in range(200)])
    assert by_prompt[1] - by_prompt[0] > 2 * (by_pair[1] - by_pair[0])
    assert bootstrap_mean(np.zeros(3), ["a", "b", "c"]) == (0.0, 0.0)
