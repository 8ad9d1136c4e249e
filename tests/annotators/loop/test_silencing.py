"""What voices are worth to a reading: planted good judges, twins and givers, each left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.loop.silencing import Pool, Silenced, silence_voices

PAIRS, DIMENSIONS = 500, 4


def plant(accuracies: tuple[float, ...] = (0.85, 0.55), twin: bool = False, seed: int = 0) -> Pool:
    """Labels of two givers, `careful` (0.9 right) and `careless` (0.55), judges of these
    accuracies, and gold on 150 pairs: of 100 it teaches, of 50 it is the exam's."""
    rng = np.random.default_rng(seed)
    apart = rng.normal(size=(PAIRS, DIMENSIONS)) * 0.2
    truth = (rng.random(PAIRS) < 0.5).astype(float)

    def err(accuracy: float) -> np.ndarray:
        return np.where(rng.random(PAIRS) < accuracy, truth, 1 - truth)

    careful = rng.random(PAIRS) < 0.5
    label = np.where(careful, err(0.9), err(0.55))
    said = [err(accuracy) for accuracy in accuracies]
    said += said[:1] if twin else []
    at = np.arange(PAIRS)
    return Pool(
        label=label,
        judges=tuple(f"judge-{k}" for k in range(len(said))),
        said=np.stack(said, axis=1) if said else np.zeros((PAIRS, 0)),
        apart=apart,
        prompts=tuple(f"prompt {i}" for i in range(PAIRS)),
        gold=np.where(at < 100, truth, np.nan),
        traits=pl.DataFrame({"giver": np.where(careful, "careful", "careless"), "source": "pool"}),
        sample=at < 100,
        exam=np.where((at >= 100) & (at < 150), truth, np.nan),
    )


@pytest.fixture(scope="module")
def told() -> Silenced:
    return silence_voices(plant(), 0.75)


def take(found: Silenced, voice: str) -> dict[str, Any]:
    return found.voices.filter(voice=voice).row(0, named=True)


def test_a_good_voice_is_worth_much_and_a_poor_one_little(told: Silenced) -> None:
    good, poor = take(told, "judge-0"), take(told, "judge-1")
    assert good["value_low"] > 0 and good["kept"] > 0.1
    assert poor["value_low"] <= 0 <= poor["value_high"] and abs(poor["value"]) < 0.05
    assert told.voices["voice"][0] == "judge-0"
    careful, careless = take(told, "careful"), take(told, "careless")
    assert careful["value"] > careless["value"] and careful["n"] + careless["n"] == PAIRS
    assert set(told.voices["what"]) == {"label", "giver", "judge"}
    assert (told.held, told.exam) == (150, 50) and told.accuracy > 0.85
    assert told.precision is not None and told.precision > 0.8 and 0.3 < told.kept <= 1
    for row in told.voices.iter_rows(named=True):
        assert row["accuracy"] == pytest.approx(told.accuracy - row["value"])
        assert row["value_low"] <= row["value"] <= row["value_high"]


def test_of_twins_neither_is_worth_anything() -> None:
    told = silence_voices(plant((0.8,), twin=True), 0.75)
    for name in ("judge-0", "judge-1"):
        row = take(told, name)
        assert abs(row["value"]) <= 0.03 and row["value_low"] <= 0 <= row["value_high"]
        assert abs(row["kept"]) < 0.15


def test_exam_gold_is_held_against_and_heeded_by_nothing() -> None:
    """With the exam's answers turned round the readings are the same, and are wrong of them."""
    pool = plant((0.85,))
    told = silence_voices(pool, 0.75)
    turned = silence_voices(replace(pool, exam=1 - pool.exam), 0.75)
    assert turned.kept == told.kept
    taught = told.accuracy * told.held - turned.accuracy * told.held
    assert 20 < taught <= 50 and taught == pytest.approx(round(taught))


def test_a_pool_with_one_voice_and_one_without_labels() -> None:
    pool = plant(())
    one = pool.traits.with_columns(giver=pl.lit("pool"))
    alone = silence_voices(replace(pool, traits=one), 0.75)
    assert alone.voices["voice"].to_list() == ["label"] and take(alone, "label")["value"] > 0.05
    bare = silence_voices(replace(plant((0.9,)), label=np.full(PAIRS, np.nan)), 0.75)
    assert bare.voices["what"].to_list() == ["judge"]


def test_a_judge_that_errs_more_often_than_not_is_worth_nothing() -> None:
    told = silence_voices(plant((0.9, 0.2)), 0.75)
    assert take(told, "judge-0")["value_low"] > 0
    row = take(told, "judge-1")
    assert row["value"] == row["kept"] == 0 and row["n"] == PAIRS


def test_where_nothing_would_be_kept_there_is_no_share() -> None:
    told = silence_voices(plant((0.6,)), 0.9999)
    assert told.precision is None and told.voices["kept"].null_count() == len(told.voices)
