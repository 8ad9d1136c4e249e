"""Gold in the prompt and both orders: the arithmetic, and judges whose behaviour is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.loop.orders import (
    WAYS,
    combine_orders,
    score_sides,
    share_rights,
    tabulate_gains,
    tabulate_ways,
)
from benchmarks.loop.prompting import read_ways
from benchmarks.loop.recorded import (
    CLEAN,
    CORRECTIONS,
    HALF,
    Told,
    ask_in_orders,
    check_orders,
    correct_verdicts,
    tabulate_orders,
    try_orders,
)
from tests.benchmarks.test_loop_shows import plant_pool

NAN = float("nan")


def test_orders_are_combined_and_what_is_unread_says_nothing() -> None:
    p_ab = np.array([0.9, 0.9, 0.9, 0.2, NAN, 0.5])
    p_ba = np.array([0.7, 0.3, 0.1, NAN, 0.8, 0.9])
    is_ab = np.array([True, False, True, True, True, True])
    one, mean, agree = combine_orders(p_ab, p_ba, is_ab).values()
    np.testing.assert_allclose(one, [0.9, 0.3, 0.9, 0.2, NAN, 0.5])
    np.testing.assert_allclose(mean, [0.8, 0.6, 0.5, NAN, NAN, 0.7])
    np.testing.assert_allclose(agree, [0.8, NAN, NAN, NAN, NAN, NAN])
    first = np.array([True, False, True, True, True, False])
    np.testing.assert_allclose(score_sides(mean, first), [1, 0, 0.5, NAN, NAN, 0])


def test_a_share_is_of_what_was_said_and_prompts_are_drawn_whole() -> None:
    rights = np.array([[1, NAN], [1, 1], [0, 1], [0, 1], [1, 1], [1, 1]], dtype=float)
    shares = share_rights(rights, ["p", "p", "q", "q", "r", "r"], resamples=500)
    assert shares.n.tolist() == [6, 5]
    np.testing.assert_allclose(shares.right, [4 / 6, 1])
    np.testing.assert_allclose(shares.coverage, [1, 5 / 6])
    assert set(np.round(shares.drawn[:, 0] * 3).astype(int)) == {0, 1, 2, 3}  # by prompt, not row
    gain, low, high = shares.compare(1, 0)
    assert gain == pytest.approx(1 / 3) and low <= gain <= high
    assert shares.compare(0, 0) == (0.0, 0.0, 0.0)


def test_an_arm_that_never_speaks_has_no_share() -> None:
    table, shares, names = tabulate_ways(
        {"speaks": np.array([1.0, 0.0]), "silent": np.array([NAN, NAN])}, ["p", "q"]
    )
    assert table["n"].to_list() == [2, 0] and table["coverage"].to_list() == [1.0, 0.0]
    assert np.isnan(table["right"][1])
    assert len(tabulate_gains(shares, names, [("silent", "speaks")])) == 1


def test_the_rows_of_a_judge_are_read_in_the_order_of_the_truth() -> None:
    truth = pl.DataFrame({"prompt_id": ["p", "q"], "response_a": ["c", "a"],
                          "response_b": ["d", "b"], "p_a": [1.0, 0.0]})  # fmt: skip
    said = pl.DataFrame({"response_a": ["a", "a", "c"], "response_b": ["b", "b", "d"],
                         "order": ["ab", "ba", "ab"], "p_a": [0.1, 0.3, 0.9]})  # fmt: skip
    ways = read_ways(said, truth)
    np.testing.assert_allclose(ways[WAYS[1]], [NAN, 0.2])
    np.testing.assert_allclose(ways[WAYS[2]], [NAN, 0.2])


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_a_simulated_judge_is_as_right_as_stated_and_leans_to_the_first_place(bias: float) -> None:
    truth = np.random.default_rng(0).random(40_000) < 0.5
    p_ab, p_ba = ask_in_orders(truth, bias, np.random.default_rng(1))
    first = np.concatenate([p_ab, 1 - p_ba]).mean()
    if bias == 0:
        assert (p_ab == truth).mean() == pytest.approx(0.75, abs=0.01)
        assert first == pytest.approx(0.5, abs=0.01)
    else:
        assert first > 0.7
    agreed = combine_orders(p_ab, p_ba, truth)[WAYS[2]]
    assert np.nanmean(score_sides(agreed, truth)) > (p_ab == truth).mean() + 0.03


def test_labels_of_agreeing_orders_are_fewer_and_more_often_right() -> None:
    trials = [try_orders(plant_pool(seed), 1.0, seed, spread=4.0) for seed in (0, 1)]
    table = {row["way"]: row for row in tabulate_orders(trials).iter_rows(named=True)}
    assert table[CLEAN]["right"] == 1.0 and table[CLEAN]["kept"] == 1.0
    assert table[WAYS[0]]["gain"] == 0.0 and table[WAYS[0]]["kept"] == 1.0
    assert table[WAYS[2]]["right"] > table[WAYS[0]]["right"]
    assert table[WAYS[2]]["kept"] == pytest.approx(trials[0]["orders agree"], abs=0.05)
    assert table[HALF]["kept"] == pytest.approx(table[WAYS[2]]["kept"] / 2, abs=0.03)
    assert table[CLEAN]["probe"] >= table[WAYS[0]]["probe"]


def test_one_way_of_asking_is_held_against_the_others_agreeing_orders() -> None:
    def rows(style: str, said: dict[str, tuple[float, float]]) -> list[dict[str, object]]:
        return [
            {"annotator": style, "prompt_id": pair, "response_a": "a", "response_b": "b",
             "order": order, "p_a": p}
            for pair, both in said.items() for order, p in zip(("ab", "ba"), both, strict=True)
        ]  # fmt: skip

    mine = rows("m", {"1": (1.0, 1.0), "2": (1.0, 0.0), "3": (0.0, 0.0), "4": (1.0, 1.0)})
    theirs = rows("o", {"1": (1.0, 1.0), "2": (1.0, 1.0), "3": (1.0, 1.0), "5": (1.0, 1.0)})
    arms, pairs, prompts = check_orders(pl.DataFrame(mine + theirs), "m", "o")
    assert pairs == 3 and prompts == ["1", "2", "3"]
    np.testing.assert_allclose(arms[WAYS[1]], [1.0, 0.5, 0.0])
    np.testing.assert_allclose(arms[WAYS[2]], [1.0, NAN, 0.0])


def plant_told(n_prompts: int = 60) -> tuple[Told, np.ndarray]:
    """Prompts of two kinds; a judge who is right on the one and wrong on the other."""
    generator = np.random.default_rng(0)
    kind = np.repeat(np.arange(n_prompts) % 2, 4)
    near = np.zeros((len(kind), 3))
    near[np.arange(len(kind)), kind] = 1.0
    near[:, 2] = 0.1 * generator.normal(size=len(kind))
    apart = generator.normal(size=(len(kind), 8))
    first = generator.random(len(kind)) < 0.5
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (near, apart)]
    said = np.where(kind == 0, first, ~first).astype(float)
    said[0] = NAN
    prompts = [f"p{place}" for place in np.repeat(np.arange(n_prompts), 4)]
    return Told(prompts, *(u.astype(np.float32) for u in unit), first, {"judge": said}), kind


def test_gold_nearby_mends_a_judge_who_errs_on_one_kind_of_prompt() -> None:
    told, kind = plant_told()
    arms = correct_verdicts(told, told.said["judge"])
    assert list(arms) == list(CORRECTIONS)
    recorded, turned = arms["as recorded"], arms["turned where it erred on most of the 8"]
    assert recorded[0] == 0.5  # what could not be read
    assert recorded[1:][kind[1:] == 0].mean() == 1.0 and recorded[kind == 1].mean() == 0.0
    assert turned[1:].mean() == 1.0
    assert arms["weighed with the 8"].mean() > 0.95
    assert arms["the 8 alone"].mean() == pytest.approx(0.5, abs=0.12)
