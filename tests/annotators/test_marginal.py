"""What parts of a training set are worth: planted good, bad, twin and tiny ones."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from annotators.marginal import ONLY_PART, bootstrap_means, tell_right, value_parts
from annotators.probe import call_winners, fit_probe

Array = NDArray[np.float64]
DIMENSIONS = 8
WEIGHTS = np.array([3.0, -2.0, 2.0, -1.0, 1.5, 0.5, -2.5, 1.0])
HALF = np.arange(DIMENSIONS) < 4


def turn(apart: Array) -> Array:
    """Each pair with its better response first."""
    return apart * np.where(apart @ WEIGHTS > 0, 1.0, -1.0)[:, None]


def draw(generator: np.random.Generator, count: int) -> Array:
    return turn(generator.normal(size=(count, DIMENSIONS)))


def plant(seed: int = 0) -> tuple[Array, list[str], Array, list[str]]:
    """A source that alone knows half of what matters (`good`), one that says the reverse (`bad`),
    a small one of each kind of row (`tiny`), and an exam of 300 prompts of two pairs."""
    generator = np.random.default_rng(seed)
    plain = draw(generator, 120) * ~HALF
    good = draw(generator, 80)
    bad = -draw(generator, 60)
    tiny = draw(generator, 3)
    parts = ["plain"] * 120 + ["good"] * 80 + ["bad"] * 60 + ["tiny"] * 3
    held = draw(generator, 600)
    return np.vstack([plain, good, bad, tiny]), parts, held, [str(i // 2) for i in range(600)]


@pytest.fixture(scope="module")
def valued() -> pl.DataFrame:
    return value_parts(*plant())[0]


def take(frame: pl.DataFrame, part: str) -> dict[str, float]:
    return frame.filter(part=part).row(0, named=True)


def test_a_good_part_is_worth_something_and_a_bad_one_costs(valued: pl.DataFrame) -> None:
    good, bad, tiny = (take(valued, part) for part in ("good", "bad", "tiny"))
    assert valued["part"][0] == "good" and valued["part"][-1] == "bad"
    assert good["value_low"] > 0 and good["beyond_low"] > 0
    assert bad["value_high"] <= 0 and bad["beyond_high"] <= 0
    assert abs(tiny["value"]) < 0.03 < good["value"] / 3  # three rows, good ones
    assert valued["reason"].null_count() == len(valued)
    for row in valued.iter_rows(named=True):
        for name in ("value", "random", "beyond"):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert row["beyond"] == pytest.approx(row["value"] - row["random"])


def test_a_twin_is_worth_nothing() -> None:
    generator = np.random.default_rng(3)
    rows, other = draw(generator, 150), draw(generator, 40)
    parts = ["one"] * 150 + ["twin"] * 150 + ["other"] * 40
    held = draw(generator, 500)
    found, right = value_parts(
        np.vstack([rows, rows, other]), parts, held, [str(i) for i in range(500)]
    )
    for part in ("one", "twin"):
        row = take(found, part)
        assert abs(row["value"]) < 0.015 and row["value_low"] <= 0 <= row["value_high"]
    assert right.mean() > 0.9


def test_intervals_cover_what_a_large_exam_says() -> None:
    """The difference of two fixed probes on all prompts lies within nine in ten intervals at
    least, of exams of 60 prompts with three like pairs each."""
    generator = np.random.default_rng(5)
    rows = draw(generator, 200)
    rows[:70] *= -1
    first = fit_probe(rows, np.ones(200))
    second = fit_probe(rows[50:], np.ones(150))

    def differ(held: Array) -> Array:
        return call_winners(first, held) - call_winners(second, held)

    truth = differ(draw(generator, 100_000)).mean()
    inside = 0
    for seed in range(100):
        prompts = generator.normal(size=(60, DIMENSIONS)).repeat(3, axis=0)
        held = turn(prompts + 0.3 * generator.normal(size=prompts.shape))
        _, low, high = bootstrap_means(differ(held)[None], [str(i // 3) for i in range(180)], seed)
        inside += low[0] <= truth <= high[0]
    assert inside >= 88


def test_a_part_like_any_other_is_seldom_called_better_or_worse_than_random_rows() -> None:
    """Six worlds of six parts drawn alike, with one label in five wrong."""
    outside = 0
    for seed in range(6):
        generator = np.random.default_rng(100 + seed)
        rows = draw(generator, 180) * np.where(generator.random((180, 1)) < 0.2, -1, 1)
        parts = [str(at % 6) for at in range(180)]
        found, _ = value_parts(rows, parts, draw(generator, 400), [str(i) for i in range(400)])
        outside += ((found["beyond_low"] > 0) | (found["beyond_high"] < 0)).sum()
    assert outside <= 5


def test_the_only_part_and_what_leaves_too_little_have_a_reason() -> None:
    generator = np.random.default_rng(7)
    held, clusters = draw(generator, 30), [str(i) for i in range(30)]
    found, _ = value_parts(draw(generator, 40), ["all"] * 40, held, clusters)
    row = found.row(0, named=True)
    assert row["value"] is None and row["reason"] == ONLY_PART and row["n"] == 40
    found, _ = value_parts(draw(generator, 40), ["most"] * 35 + ["rest"] * 5, held, clusters)
    assert "only 5 pairs would be left to learn" in take(found, "most")["reason"]  # type: ignore[operator]
    assert take(found, "rest")["value"] is not None
    assert found["part"].to_list() == ["rest", "most"]


def test_the_order_of_rows_changes_nothing(valued: pl.DataFrame) -> None:
    apart, parts, held, clusters = plant()
    order = np.random.default_rng(1).permutation(len(parts))
    found, _ = value_parts(apart[order], [parts[i] for i in order], held, clusters)
    for part in ("good", "bad", "plain"):
        assert take(found, part)["value"] == pytest.approx(take(valued, part)["value"], abs=0.01)


def test_where_nothing_changes_the_interval_has_a_width_all_the_same() -> None:
    mean, low, high = bootstrap_means(np.zeros((1, 50)), [str(i) for i in range(50)])
    assert mean[0] == 0 and low[0] == pytest.approx(-high[0]) and 0.05 < high[0] < 0.1
    none = bootstrap_means(np.zeros((0, 50)), [str(i) for i in range(50)])
    assert [len(part) for part in none] == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), st.integers(0, 6)),
             min_size=2, max_size=30)
)  # fmt: skip
def test_the_mean_lies_in_its_interval_and_a_sign_turns_it(rows: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in rows])
    clusters = [str(name) for _, name in rows]
    (mean, back), low, high = bootstrap_means(np.stack([values, -values]), clusters)
    assert mean == pytest.approx(-back) and low[0] == pytest.approx(-high[1])
    assert low[0] - 1e-9 <= mean <= high[0] + 1e-9
    again = bootstrap_means(values[None], clusters)
    assert again[1][0] == pytest.approx(low[0])


def test_a_tie_is_half_right() -> None:
    assert tell_right([0.9, 0.1, 0.5, 0.9], [1.0, 1.0, 1.0, 0.5]).tolist() == [1.0, 0.0, 0.5, 0.5]
