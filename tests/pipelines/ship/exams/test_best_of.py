"""Best of n: the expectation against brute force, and rewards that are right, noisy and fooled."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ship.exams.best_of import (
    SIZES,
    Store,
    expect_best,
    find_divergence,
    trace_best_of,
)


def enumerate_best(proxy: np.ndarray, gold: np.ndarray, n: int) -> float:
    """The same by going through every draw."""
    found = []
    for places in product(range(len(proxy)), repeat=n):
        drawn = proxy[list(places)]
        best = np.asarray(places)[drawn == drawn.max()]
        found.append(gold[best].mean())
    return float(np.mean(found))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 1)), min_size=1, max_size=5,
                unique_by=lambda pair: pair[0]), st.integers(1, 4))  # fmt: skip
def test_the_expectation_is_that_of_every_draw(pairs: list[tuple[int, int]], n: int) -> None:
    proxy, gold = np.asarray(pairs, dtype=float).T
    assert expect_best(proxy, gold, (n,))[0] == pytest.approx(enumerate_best(proxy, gold, n))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=12))
def test_one_is_the_mean_and_many_are_the_top(pairs: list[tuple[int, float]]) -> None:
    proxy, gold = np.asarray(pairs, dtype=float).T
    one, many = expect_best(proxy, gold, (1, 10_000))
    assert one == pytest.approx(gold.mean())
    assert many == pytest.approx(gold[proxy == proxy.max()].mean(), abs=1e-3)
    assert np.all(np.diff(expect_best(proxy, proxy)) >= -1e-9)


def make_stores(kind: str, prompts: int = 40, responses: int = 30) -> list[Store]:
    rng = np.random.default_rng(2)
    stores = []
    for at in range(prompts):
        gold = (rng.random(responses) < 0.3).astype(float)
        noise = rng.normal(size=responses)
        proxy = {"right": gold, "blind": noise, "fooled": gold + 0.3 * noise}[kind].copy()
        if kind == "fooled":  # one wrong response in thirty is liked above all
            gold[0], proxy[0] = 0.0, 9.0
        stores.append(Store(f"prompt {at}", proxy, gold, np.arange(responses, dtype=float)))
    return stores


def test_a_right_reward_rises_and_a_fooled_one_falls() -> None:
    right = trace_best_of(make_stores("right"), 1)
    assert right is not None and not right["over_optimised"]
    assert right["peak"]["n"] >= 32 and right["points"][-1]["gold"] > 0.99
    fooled = trace_best_of(make_stores("fooled"), 1)
    assert fooled is not None and fooled["over_optimised"]
    assert 2 <= fooled["peak"]["low"] <= fooled["peak"]["n"] <= fooled["peak"]["high"] <= 16
    assert fooled["points"][-1]["gold"] < 0.01 < fooled["lost"]["ci"][0]
    assert fooled["points"][0]["gold"] == pytest.approx(0.29, abs=0.05)
    assert fooled["gap"] > 0
    blind = trace_best_of(make_stores("blind"), 1)
    assert blind is not None
    low, high = blind["points"][-1]["ci"]
    assert low < blind["points"][0]["gold"] < high


def test_too_little_gives_no_curve() -> None:
    assert trace_best_of([], 1) is None
    assert trace_best_of(make_stores("right", prompts=9), 1) is None
    assert trace_best_of(make_stores("right", responses=3), 1) is None
    alike = [Store(s.prompt, np.zeros(8), s.gold[:8], s.chars[:8]) for s in make_stores("right")]
    assert trace_best_of(alike, 1) is None
    all_right = [Store(s.prompt, s.proxy, np.ones(30), s.chars) for s in make_stores("blind")]
    assert trace_best_of(all_right, 1) is None


def test_a_prompt_that_is_asked_several_times_is_drawn_as_one() -> None:
    once = make_stores("fooled", prompts=12)
    found, repeated, apart = (
        trace_best_of(stores, 1)
        for stores in (
            once,
            once * 9,
            [replace(s, prompt=f"{s.prompt}, {at}") for at, s in enumerate(once * 9)],
        )
    )
    assert found is not None and repeated is not None and apart is not None
    assert (found["prompts"], repeated["prompts"], apart["prompts"]) == (12, 12, 108)
    for one, other, wrong in zip(*(f["points"] for f in (found, repeated, apart)), strict=True):
        assert other["gold"] == pytest.approx(one["gold"])
        assert other["ci"] == pytest.approx(one["ci"])
        assert np.diff(wrong["ci"]) <= np.diff(one["ci"])
    assert np.diff(apart["points"][0]["ci"]) < np.diff(found["points"][0]["ci"]) / 2
    assert trace_best_of(make_stores("right", prompts=9) * 2, 1) is None


def test_the_divergence_of_a_choice() -> None:
    assert find_divergence(1) == 0
    assert find_divergence(4) == pytest.approx(np.log(4) - 3 / 4)
    assert all(np.diff([find_divergence(n) for n in SIZES]) > 0)
