"""Batches that nobody finishes, people who leave, and answers that agree too well."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import NotReleased, release_batch
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.people_lake import (
    answer_as,
    fill_lake,
    find_batch_id,
    list_pushed,
    open_desk,
    pull,
)


def test_a_batch_that_nobody_finishes_is_released_as_far_as_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = ReviewSpec(overlap=3, min_alpha=-1)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 5)
        push_reviews(lake, new_run(), desk, three)
        full, agreed, torn, single, _silent = list_pushed(lake)
        for review, sides in ((full, "aab"), (agreed, "aa"), (torn, "ab"), (single, "a")):
            for person, side in zip(("ada", "bob", "cy"), sides, strict=False):
                answer_as(desk, lake, review, person, side)
        pull(lake, desk, three)
        batch = find_batch_id(lake)
        assert find_reviews(lake, "status = 'queued'").is_empty()
        summary = release_batch(lake, new_run(), batch, "Mira", three)
        assert (summary.kept, summary.extra["waiting"]) == (1, 4)
        lenient = three.model_copy(update={"min_answers": 2})
        summary = release_batch(lake, new_run(), batch, "Mira", lenient)
        assert (summary.kept, summary.extra["waiting"]) == (1, 3)
        third = find_reviews(lake, "status = 'queued'").to_dicts()
        assert [(r["role"], r["pair_id"]) for r in third] == [("adjudication", torn["pair_id"])]
        lenient = three.model_copy(update={"min_answers": 1})
        summary = release_batch(lake, new_run(), batch, "Mira", lenient)
        assert (summary.kept, summary.extra["waiting"]) == (1, 2)  # that of nobody, and the torn


def test_what_somebody_who_has_left_did_not_answer_goes_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = ["ada@example.org", "bob@example.org", "cy@example.org"]
    spec = ReviewSpec(overlap=2, min_alpha=-1, per_person=True, people=people[:2])
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 4)
        push_reviews(lake, new_run(), desk, spec)
        tasks = list_pushed(lake)
        ada, bob = sorted({r["assignee"] for r in tasks}, key=lambda name: name)
        for review in tasks:
            if review["assignee"] == ada:
                answer_as(desk, lake, review, ada, "a")
        pull(lake, desk, spec)
        assert find_reviews(lake, "status = 'queued'").is_empty()
        stays = next(e for e in people if assign(e) == ada)
        left = spec.model_copy(update={"people": [stays, "cy@example.org"]})
        pull(lake, desk, left)
        assert len(find_reviews(lake, "status = 'queued'")) == 4
        push_reviews(lake, new_run(), desk, left)
        cy = assign("cy@example.org")
        again = [r for r in list_pushed(lake) if r["assignee"] == cy]
        assert len(again) == 4 and bob not in {r["assignee"] for r in again}
        for review in again:
            answer_as(desk, lake, review, cy, "a")
        pull(lake, desk, left)
        done = release_batch(lake, new_run(), find_batch_id(lake), "Mira", left)
        assert (done.kept, done.extra["waiting"]) == (4, 0)


def assign(email: str) -> str:
    from schemas.ids import make_id

    return f"assignee-{make_id('assignee', email)[:16]}"


@pytest.mark.parametrize("gold_rate", [0.0, 0.3])
def test_perfect_agreement_on_one_side_is_released_where_hidden_gold_vouches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gold_rate: float
) -> None:
    spec = ReviewSpec(overlap=2, gold_rate=gold_rate)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = {pair["pair_id"]: pair for pair in fill_lake(lake, 8, gold=20)}
        for pair in list(pairs.values())[8:]:
            if pair["better"] == "b":  # known pairs of one side alone
                lake._cursor().execute(
                    "DELETE FROM judgments WHERE response_a = ?", [pair["response_a"]]
                )
        push_reviews(lake, new_run(), desk, spec)
        for review in list_pushed(lake):
            for person in ("ada", "bob"):
                answer_as(desk, lake, review, person, "a")
        pull(lake, desk, spec)
        batch = find_batch_id(lake)
        if gold_rate:
            assert release_batch(lake, new_run(), batch, "Mira", spec).kept == 8
        else:
            with pytest.raises(NotReleased, match=r"such perfect agreement.*review\.gold_rate"):
                release_batch(lake, new_run(), batch, "Mira", spec)
