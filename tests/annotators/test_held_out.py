"""Small reward models told what they never saw: calibrated, of three shapes, deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from annotators.held_out import Shape, tell_held_out
from annotators.probe import NothingToLearn

SHAPES: tuple[Shape, ...] = ("straight", "curved", "ensemble")


def make_pairs(seed: int, n: int, dimensions: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of both responses, and whether the first is better: by a straight line and chance."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(2, n, dimensions)).astype(np.float32)
    odds = 1.5 * (first - second)[:, :2].sum(axis=1)
    return first, second, generator.random(n) < 1 / (1 + np.exp(-odds))


def name_prompts(n: int) -> list[str]:
    return [f"p{place // 2}" for place in range(n)]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_never_seen_is_told_as_surely_as_it_is_right(shape: Shape) -> None:
    first, second, wins = make_pairs(0, 1_200)
    told = tell_held_out(shape, first, second, wins, name_prompts(1_200))
    right = (told > 0.5) == wins
    assert right.mean() > 0.75
    assert np.maximum(told, 1 - told).mean() == pytest.approx(right.mean(), abs=0.04)
    again = tell_held_out(shape, first, second, wins, name_prompts(1_200))
    np.testing.assert_array_equal(again, told)


@pytest.mark.parametrize("shape", SHAPES)
def test_neither_its_own_label_nor_one_of_its_prompt_reaches_a_pair(shape: Shape) -> None:
    first, second, wins = make_pairs(1, 200)
    prompts = name_prompts(200)
    plain = tell_held_out(shape, first, second, wins, prompts, weights=np.ones(200))
    turned = wins.copy()
    turned[:2] = ~turned[:2]  # the two pairs of p0
    other = tell_held_out(shape, first, second, turned, prompts, weights=np.ones(200))
    lean = np.log(plain / (1 - plain)), np.log(other / (1 - other))
    assert lean[1][0] / lean[0][0] == pytest.approx(lean[1][1] / lean[0][1]), "but for the slope"
    assert not np.allclose(plain[2:], other[2:])


def test_noise_alone_is_told_at_even_odds() -> None:
    first, second, _ = make_pairs(2, 600)
    coin = np.random.default_rng(0).random(600) < 0.5
    told = tell_held_out("straight", first, second, coin, name_prompts(600))
    assert np.abs(told - 0.5).mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_says_less_of_what_it_has_seen_little_of(seed: int) -> None:
    first, second, wins = make_pairs(seed, 300)
    strange = np.arange(300) < 12
    first[:, 5], second[:, 5] = np.where(strange, 3.0, 0.0), 0.0  # twelve pairs alone show it
    wins[strange] = np.arange(12) < 8
    odds = []
    for shape in ("straight", "ensemble"):
        told = tell_held_out(shape, first, second, wins, name_prompts(300))
        odds.append(np.abs(np.log(told / (1 - told))))
    less = odds[1] / odds[0]
    assert np.median(less[strange]) < np.median(less[~strange])


@pytest.mark.parametrize("shape", SHAPES)
def test_margins_and_weights_count(shape: Shape) -> None:
    first, second, wins = make_pairs(4, 240)
    prompts = name_prompts(240)
    spoiled = np.where(np.arange(240) < 60, ~wins, wins)
    weights = np.where(np.arange(240) < 60, 0.0, 1.0)
    heavy = tell_held_out(shape, first, second, spoiled, prompts, weights=weights)
    assert ((heavy > 0.5) == wins)[:60].mean() > 0.65, "what has no weight is told, not learned"
    led = tell_held_out(shape, first, second, wins, prompts, margins=np.full(240, 2.0))
    assert not np.allclose(led, tell_held_out(shape, first, second, wins, prompts))


@pytest.mark.parametrize("shape", SHAPES)
def test_one_prompt_cannot_be_held_out(shape: Shape) -> None:
    first, second, wins = make_pairs(5, 20)
    with pytest.raises(NothingToLearn, match="20 labelled pairs of 1 folds"):
        tell_held_out(shape, first, second, wins, ["one"] * 20)
    with pytest.raises(NothingToLearn, match="0 labelled pairs"):
        tell_held_out(shape, first, second, wins, name_prompts(20), weights=np.zeros(20))
