"""The shows of the loop on a small planted pool: noise is as stated, and the tables add up."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.loop.stacking import measure_errors
from benchmarks.loop.flips import tabulate_flips, try_flips
from benchmarks.loop.full_model import PAIRS, PLAN, make_rows, make_twin, tabulate_full, try_full
from benchmarks.loop.minutes import STEPS, tabulate_minutes, try_minutes
from benchmarks.loop.mixing import (
    FACTORS,
    LOOP,
    SETTINGS,
    balance,
    tabulate_effects,
    tabulate_mixing,
    try_mixing,
)
from benchmarks.loop.noise import KINDS, ask_judges, spoil
from benchmarks.loop.pools import Pool, read_hh, split_prompts
from benchmarks.loop.recovery import Trial, pair_up, tabulate_goals, tabulate_scores, try_seed
from benchmarks.loop.remedies import REMEDIES, Lesson, keep_clean, keep_corrupted, keep_gold


def plant_pool(seed: int = 0, n: int = 2_000) -> Pool:
    generator = np.random.default_rng(seed)
    apart = generator.normal(size=(n, 10))
    truth = apart @ generator.normal(size=10) * 0.6 + generator.logistic(size=n) > 0
    first, second = generator.integers(50, 500, (2, n)).astype(float)
    prompts = np.array([f"p{place // 4}" for place in range(n)])
    categories = np.where(np.arange(n) % 8 < 4, "code", "chat")
    return Pool("planted", prompts, categories, apart, first, second, truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_noise_is_as_much_as_stated_and_repeated_three_times_as_often(
    kind: str, rate: float
) -> None:
    pool = plant_pool(n=20_000)
    spoiled = spoil(pool, kind, rate, np.random.default_rng(1))
    assert spoiled.wrong.mean() == pytest.approx(rate, abs=0.025)
    assert len(spoiled.copies) / (len(spoiled.copies) + len(pool)) == pytest.approx(0.2, abs=0.001)
    odds = spoiled.wrong.mean() / (1 - spoiled.wrong.mean())
    repeated = spoiled.wrong[spoiled.copies].mean()
    assert repeated / (1 - repeated) == pytest.approx(3 * odds, rel=0.12)
    if kind == "length":
        toward = pool.longer[spoiled.wrong] * np.where(spoiled.label[spoiled.wrong], 1, -1)
        assert (toward > 0).all()
    if kind in ("annotator", "source"):
        who = spoiled.annotator if kind == "annotator" else spoiled.source
        assert spoiled.wrong[who == 0].mean() > 0.75 > 0.1 > spoiled.wrong[who != 0].mean()


def test_prompts_are_disjoint() -> None:
    train, exam = split_prompts(plant_pool(), 3)
    assert not set(train.prompts) & set(exam.prompts)
    assert len(train) + len(exam) == 2_000


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_judges_err_together_as_stated(correlation: float) -> None:
    generator = np.random.default_rng(2)
    truth = generator.random(40_000) < 0.5
    said = ask_judges(truth, (0.75, 0.75), correlation, generator)
    errors = measure_errors(said, truth.astype(float))
    assert errors[0, 1] == pytest.approx(correlation, abs=0.02)


def test_every_remedy_is_scored_on_the_same_pairs() -> None:
    trials = [try_seed(plant_pool(seed), "symmetric", 0.25, seed, spread=4.0) for seed in (0, 1)]
    table = {row["remedy"]: row for row in tabulate_scores(trials).iter_rows(named=True)}
    assert list(table) == list(REMEDIES)
    assert table["clean (oracle)"]["purity"] == 1.0 and table["gold alone"]["coverage"] == 0.0
    assert table["clean (oracle)"]["recovered"] == pytest.approx(1.0)
    assert table["dedup"]["purity"] == pytest.approx(0.75, abs=0.03)
    assert table["the loop"]["coverage"] == pytest.approx(0.7, abs=0.001)
    assert table["the loop"]["purity"] > table["majority of the judges"]["purity"]
    assert table["the loop"]["loop_gains"] == 0.0


def test_minutes_flips_and_mixing_have_their_rows() -> None:
    pool = plant_pool(n=3_000)
    spent = tabulate_minutes([try_minutes(pool, "symmetric", 0.25, 0, spread=4.0)])
    errors = {(c, n): e for c, n, e in spent.select("chooser", "labels", "error").iter_rows()}
    assert len(spent) == 4 * len(STEPS)
    assert len({errors[chooser, 0] for chooser, _ in errors}) == 1
    assert errors["optimiser", 500] < errors["random", 500] < errors["random", 0]
    flips = tabulate_flips([try_flips(pool, "symmetric", 0.25, 0, spread=4.0)])
    shares = dict(flips.select("policy", "flipped").iter_rows())
    assert shares["none"] == 0 < shares["unanimous"] < shares["all"]
    right = dict(flips.select("policy", "flipped_right").iter_rows())
    assert right["unanimous"] > right["all"]
    trial = try_mixing(pool, 0.25, 0, spread=4.0)
    assert tabulate_mixing([trial])["setting"].to_list() == [*SETTINGS, LOOP]
    assert len(SETTINGS) == 8 and trial["bad"][0] < 0.5 < trial["good"][0]
    assert (trial["worst"] <= trial["by_category"]).all()


def test_effects_of_the_factors_by_hand() -> None:
    def make(luck: float) -> pl.DataFrame:
        rows = [
            {"setting": setting, "accuracy": luck + 0.02 * a + 0.01 * c + 0.04 * (a and c),
             "by_category": luck + 0.03 * b}
            for setting, (a, b, c) in SETTINGS.items()
        ]  # fmt: skip
        return pl.DataFrame(rows)

    table = tabulate_effects([make(0.6), make(0.7)])
    found = {(row["effect"], row["measure"]): row["mean"] for row in table.iter_rows(named=True)}
    sources, balanced, weights = FACTORS
    assert found[sources, "accuracy"] == pytest.approx(0.04)  # 0.02 and half of what both add
    assert found[weights, "accuracy"] == pytest.approx(0.03)
    assert found[balanced, "accuracy"] == pytest.approx(0.0)
    assert found[balanced, "by_category"] == pytest.approx(0.03)
    assert found[f"{sources} × {weights}", "accuracy"] == pytest.approx(0.02)
    assert found[f"{sources} × {balanced}", "accuracy"] == pytest.approx(0.0)
    assert np.allclose(table["low"], table["mean"]) and np.allclose(table["high"], table["mean"])


def test_categories_are_balanced_to_the_smallest_that_is_large_enough() -> None:
    categories = np.array(["a"] * 300 + ["b"] * 120 + ["c"] * 30)
    kept = balance(categories, np.random.default_rng(0))
    assert [kept[categories == name].sum() for name in "abc"] == [120, 120, 30]


def test_goals_are_met_missed_or_open() -> None:
    def make(error: float, loop: float) -> Trial:
        kept = {"error_loop": error, "error_dedup": 0.25, "error_majority": 0.15,
                "coverage_loop": 0.7}  # fmt: skip
        scores = [{"remedy": name, "accuracy": loop if name == "the loop" else 0.6}
                  for name in REMEDIES]  # fmt: skip
        return Trial(scores, kept, pl.DataFrame())

    def judge(*trials: Trial) -> list[str]:
        return tabulate_goals(trials)["met"].to_list()

    assert judge(make(0.05, 0.69), make(0.06, 0.7)) == ["yes"] * 5
    assert judge(make(0.2, 0.5), make(0.201, 0.501)) == ["no", "yes", "no", "no", "no"]
    assert judge(make(0.05, 0.59), make(0.2, 0.61)) == ["open", "yes", "open", "open", "open"]


def test_hh_keeps_near_duplicates_together_and_leaves_out_what_is_no_pair(tmp_path: Path) -> None:
    def tell(*turns: str) -> str:
        names = ("Human", "Assistant")
        return "".join(f"\n\n{names[at % 2]}: {turn}" for at, turn in enumerate(turns))

    asked = "How do I bake a good loaf of bread at home in the oven today"
    files = {
        "hh_helpful_test": [
            (tell(asked, "Slowly."), tell(asked, "Never.")),
            (tell(asked, "Slowly.", "And then?", "Eat."), tell(asked, "Slowly.", "And then?", "")),
            (tell(asked, "Slowly.", "And?", "Eat."), tell(asked, "Slowly.", "And?", "Sell.")),
            (tell("Who wrote Faust?", "Goethe."), tell("Who wrote it?", "Mann.")),
            (tell("Name a large river", "Po"), tell("Name a large river", "Nile")),
        ],
        "hh_harmless_base_test": [
            (tell(asked + " please", "No."), tell(asked + " please", "Yes.")),
            (tell("Why?", "Because."), tell("Why?", "Because.")),
        ],
    }
    for name, rows in files.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"chosen": a, "rejected": b}) + "\n" for a, b in rows)
    found = read_hh(tmp_path)
    assert found["better"].to_list() == ["Slowly.", "Eat.", "Po", "No."]
    assert found["category"].to_list() == ["helpful"] * 3 + ["harmless"]
    assert found["prompt"].to_list() == [asked, asked, "Name a large river", asked]


def test_full_models_are_taught_the_same_pairs_whatever_the_noise() -> None:
    pool = plant_pool()
    texts = pl.DataFrame({"prompt": pool.prompts.tolist(),
                          "first": [f"first {at}" for at in range(len(pool))],
                          "second": [f"second {at}" for at in range(len(pool))]})  # fmt: skip
    seen: list[list[dict[str, Any]]] = []

    def train(rows: list[dict[str, Any]], seed: int, exam: pl.DataFrame) -> list[float]:
        seen.append(rows)
        places = [int(text.split()[1]) for text in exam["first"]]
        assert not set(exam["prompt"]) & {row["prompt"][0]["content"] for row in rows}
        return (np.where(pool.truth[places], 1.0, -1.0) * (len(seen) % 2 - 0.5)).tolist()

    trials = pl.DataFrame(
        [try_full(pool, texts, kind, remedy, 3, train, spread=4.0) for kind, remedy in PLAN]
    )
    assert set(trials["accuracy"]) == {0.0, 1.0}
    by = dict(zip(trials.select("kind", "remedy").iter_rows(), seen, strict=True))
    for shared in ("clean (oracle)", "gold alone", "majority of the judges"):
        assert by["symmetric", shared] == by["length", shared]
    assert by["symmetric", "dedup"] != by["length", "dedup"]
    assert len(by["symmetric", "dedup"]) == PAIRS and len(by["length", "gold alone"]) == PAIRS / 10
    table = tabulate_full(trials)
    assert table.filter(remedy="the loop, soft labels")["loop_gains"].to_list() == [0.0, 0.0]


def test_rows_of_a_full_model_say_what_the_lesson_says() -> None:
    pool = plant_pool(n=600)
    texts = pl.DataFrame({"prompt": pool.prompts.tolist(), "first": np.arange(600).astype(str),
                          "second": np.char.add("-", np.arange(600).astype(str))})  # fmt: skip
    case = make_twin(pool, "length", 0.25, 0, 4.0)

    def tell(lesson: Lesson) -> tuple[list[int], list[bool]]:
        rows = make_rows(lesson, texts)
        named = [row["chosen"][0]["content"] for row in rows]
        assert all(row["probability"] == 1.0 and row["tier"] == "silver" for row in rows)
        return [int(name.removeprefix("-")) for name in named], [name[0] != "-" for name in named]

    places, first = tell(keep_clean(case))
    assert sorted(places) == list(range(600)) and first == pool.truth[places].tolist()
    assert sorted(tell(keep_gold(case))[0]) == np.flatnonzero(case.is_gold).tolist()
    places, first = tell(keep_corrupted(case))
    assert len(places) == 750 and first == case.spoiled.label[places].tolist()


def test_intervals_of_paired_differences_by_hand() -> None:
    mean, half = pair_up(np.array([1.0, 2.0, 3.0]))
    assert mean == 2.0 and half == pytest.approx(4.302653 / 3**0.5)
