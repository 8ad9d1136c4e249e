"""What gold taught: curves over pairs of planted truth, and nothing where gold is too little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.learning import LEAST_GOLD, trace_learning
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from pipelines.ship.figures_people import plot_learning
from schemas.ids import make_seed
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import (
    answer_as,
    fill_lake,
    list_pushed,
    make_pair,
    open_desk,
)

PAIRS = 90
SPEC = ReviewSpec(min_alpha=-1, limit=PAIRS)
GOOD = {
    text: float(key == pair[f"response_{pair['better']}"])
    for pair in map(make_pair, range(PAIRS))
    for key, text in pair["responses"].items()
}


def embed(texts: Sequence[str]) -> np.ndarray:
    """Vectors whose first dimension tells the better response, and noise."""
    rows = [
        [GOOD[text], *np.random.default_rng(make_seed("vector", text)).normal(size=5)]
        for text in texts
    ]
    return np.array(rows)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """Pairs on which two judges say the opposite of the truth on three of four, one says it on all
    but every tenth; a person then labels all of them, a minute each."""
    with (
        pytest.MonkeyPatch.context() as patch,
        open_desk(tmp_path_factory.mktemp("learning"), patch) as (lake, desk),
    ):
        pairs = fill_lake(lake, PAIRS, clusters=False)
        said = []
        for place, pair in enumerate(pairs):
            truth = float(pair["better"] == "a")
            words = {"wrong-1": place % 4 == 0, "wrong-2": place % 4 == 1, "fair": place % 10 > 0}
            said += [
                {**{key: pair[key] for key in ("prompt_id", "response_a", "response_b")},
                 "judgment_id": f"{name}-{place}-{order}", "annotator": name, "kind": "llm",
                 "p_a": truth if right else 1 - truth, "tie": False, "valid": True,
                 "order": order, "sample_index": 0}
                for name, right in words.items()
                for order in ("ab", "ba")
            ]  # fmt: skip
        lake.append({"judgments": said}, run=new_run(), stage="test")
        push_reviews(lake, new_run(), desk, SPEC)
        better = {pair["pair_id"]: pair["better"] for pair in pairs}
        for review in list_pushed(lake):
            answer_as(desk, lake, review, "ada", better[review["pair_id"]])
        pull_reviews(lake, new_run(), desk)
        assess_batches(lake, new_run(), SPEC)
        (batch,) = lake.query("FROM batches")["batch_id"]
        release_batch(lake, new_run(), batch, "Mira", SPEC)
        yield lake


def test_gold_teaches_whom_to_believe(lake: Lake) -> None:
    found = trace_learning(lake, "gold_first", 0.55, embed)
    assert found["gold"] == PAIRS
    first, *_, last = found["labels"]
    assert (first["minutes"], first["gold"], last["gold"]) == (0.0, 0, PAIRS)
    assert last["minutes"] == pytest.approx(PAIRS * 20 / 60)
    assert first["accuracy"] < 0.5 < 0.85 < last["accuracy"]
    assert last["low"] < last["accuracy"] < last["high"] and last["n"] == PAIRS
    for point in found["labels"]:
        undecided = 1 - point["coverage"]
        expected = point["right"] * point["coverage"] + undecided / 2
        assert point["accuracy"] == pytest.approx(expected)
    model = found["model"]
    assert model[0]["accuracy"] < 0.5 < 0.9 < model[-1]["accuracy"]
    assert {point["n"] for point in model} == {PAIRS}
    assert found == trace_learning(lake, "gold_first", 0.55, embed)


def test_what_a_fold_is_measured_on_it_was_not_taught(lake: Lake) -> None:
    """People's word alone says nothing of pairs whose own word is hidden."""
    found = trace_learning(lake, "human_first", 0.999, embed)
    assert found["labels"][-1]["accuracy"] < 0.5, "the judges' mean, whatever people said"
    silent = trace_learning(lake, "imported", 0.9999, lambda texts: np.zeros((len(texts), 2)))
    assert silent["model"][-1]["accuracy"] == 0.5, "vectors that say nothing"
    assert silent["model"][0]["gold"] > 0, "nobody teaches a model at minute 0"


def test_a_gold_loop_says_nothing_of_what_is_hidden_and_its_gold_teaches(lake: Lake) -> None:
    found = trace_learning(lake, "gold_loop", 0.75, embed)
    assert {(point["coverage"], point["right"]) for point in found["labels"]} == {(0.0, None)}
    assert found["model"][-1]["accuracy"] > 0.9
    drawn = plot_learning(found)
    assert "a small reward model" in drawn and "policy" not in drawn


def test_too_little_gold_says_how_much_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 2)
        push_reviews(lake, new_run(), desk)
        for review in list_pushed(lake):
            answer_as(desk, lake, review, "ada", "a")
        pull_reviews(lake, new_run(), desk)
        (batch,) = lake.query("FROM batches")["batch_id"]
        release_batch(lake, new_run(), batch, "Mira", SPEC)
        found = trace_learning(lake, "gold_first", 0.55, embed)
    assert found == {"gold": 2, "needed": LEAST_GOLD, "labels": [], "model": []}
