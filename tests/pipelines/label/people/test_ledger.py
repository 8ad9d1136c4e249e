"""Every minute is in the ledger, whatever became of the answer, and what it bought beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from annotators.people.minutes import PURPOSES
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.ledger import find_kept, keep_ledger, list_spent, time_gold
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.queueing import queue_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_pair_id
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import fill_lake, list_pushed, open_desk
from tests.pipelines.label.people.test_questions import fill

ONE = ReviewSpec(min_alpha=-1, gold_rate=0.5, min_gold_accuracy=0)


def settle(lake: Lake, desk: Any) -> str:
    pull_reviews(lake, new_run(), desk)
    assess_batches(lake, new_run(), ONE)
    (batch,) = lake.query("FROM batches")["batch_id"]
    release_batch(lake, new_run(), batch, "Mira", ONE)
    return str(batch)


def publish(lake: Lake, batch: str, pair_ids: list[str], tier: str = "gold") -> None:
    row = {"name": "v", "version": 1, "prompt_id": "p", "chosen_id": "a", "rejected_id": "b",
           "probability": 1.0, "margin": 1.0, "weight": 1.0, "tier": tier, "decided_by": "human",
           "annotators": [f"people:{batch}"], "category": "c", "source": "s", "licence": "MIT",
           "split": "train"}  # fmt: skip
    done = lake.append(
        {"version_pairs": [{**row, "pair_id": pair_id} for pair_id in pair_ids]},
        run=new_run(), stage="test",
    )  # fmt: skip
    assert not done.quarantined


def test_all_of_peoples_time_is_counted_by_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 6, gold=2)
        push_reviews(lake, new_run(), desk, ONE)
        work, gold = list_pushed(lake, "work"), list_pushed(lake, "gold")
        left = {"choice": "left", "strength": 1}
        desk.submit(work[0]["review_id"], "ada", 30.0, **left)
        desk.submit(work[0]["review_id"], "ben", 40.0, **left)  # beyond the overlap
        again = desk.submit(work[1]["review_id"], "ada", 10.0, **left)
        gone = desk.submit(work[2]["review_id"], "ada", 50.0, **left)
        desk.submit(work[3]["review_id"], "ada", 5.0, cancelled=True)
        desk.submit(work[4]["review_id"], "ada", 20.0, undecided=True)
        desk.submit(gold[0]["review_id"], "ada", 60.0, **left)
        pull_reviews(lake, new_run(), desk)
        desk.ask("UPDATE annotations SET seconds = 25 WHERE id = ?", again)
        desk.revise(again, choice="right", strength=1)  # the time holds that of before
        desk.delete(gone)
        lost = {"review_id": work[5]["review_id"], "raw": json.dumps({"lead_time": 12.0})}
        row = {"quarantine_id": "q", "stage": "review_pull", "source": "label-studio",
               "position": "odd", "reason": "no person", "row": json.dumps(lost)}  # fmt: skip
        lake.append({"quarantine": [row]}, run=new_run(), stage="test")
        batch = settle(lake, desk)

        ledger = keep_ledger(lake, find_kept(lake))
        total = ledger["all"]
        spent = {name: 60 * total[f"minutes_{name}"] for name in PURPOSES}
        assert spent == pytest.approx(
            {"work": 75, "set_aside": 40, "taken_back": 50, "skipped": 5, "gold": 60,
             "unreadable": 12, "adjudication": 0}
        )  # fmt: skip
        assert 60 * total["minutes"] == pytest.approx(242)
        assert (total["n"], total["n_labels"], total["n_released"]) == (8, 2, 2)
        assert (total["n_kept"], total["seconds_per_kept"]) == (0, None)
        assert ledger["by_batch"] == [{"batch": batch, **total}]
        assert ledger["by_question"] == [{"question": "preference", **total}]

        released = lake.query("FROM releases WHERE outcome = 'gold'")["pair_id"].to_list()
        publish(lake, batch, released[:1])
        publish(lake, batch, ["other"], tier="silver")
        assert keep_ledger(lake, find_kept(lake))["all"]["seconds_per_kept"] == pytest.approx(242)
        assert find_kept(lake, ("v", 2)).is_empty() and len(find_kept(lake, ("v", 1))) == 1
        assert time_gold(lake, list_spent(lake))["minutes"].to_list() == sorted(
            time_gold(lake, list_spent(lake))["minutes"]
        )


def test_a_ranking_of_four_buys_six_labels_and_the_pairs_a_version_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        queue_reviews(lake, new_run(), fill(lake, 2, 4), "ranking")
        push_reviews(lake, new_run(), desk, ONE, question="ranking")
        for review in list_pushed(lake):
            desk.submit(review["review_id"], "ada", 90.0, order=[0, 1, 2, 3])
        batch = settle(lake, desk)
        gold = lake.query("SELECT prompt_id, response_a, response_b FROM judgments WHERE gold")
        publish(lake, batch, [make_pair_id(*row) for row in gold.rows()][:5])
        (row,) = keep_ledger(lake, find_kept(lake))["by_question"]
        assert (row["question"], row["n"], row["n_untimed"], row["n_labels"]) == (
            "ranking", 2, 0, 12
        )  # fmt: skip
        assert (row["n_released"], row["seconds_per_released"]) == (2, 90.0)
        assert (row["n_kept"], row["seconds_per_kept"]) == (5, 36.0)
        timed = time_gold(lake, list_spent(lake))
        assert timed["minutes"].to_list() == [1.5] * 6 + [3.0] * 6


def test_an_empty_lake_has_spent_nothing(tmp_path: Path) -> None:
    with open_lake(tmp_path) as lake:
        assert list_spent(lake).is_empty() and time_gold(lake, list_spent(lake)).is_empty()
        assert keep_ledger(lake, find_kept(lake)) == {
            "all": None, "by_batch": [], "by_question": [],
        }  # fmt: skip
