"""From answers to gold: standings, further rounds, third opinions, gates, and an approver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.label.labelling import discard
from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.counting import find_discarded, keep_counted
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import NotReleased, release_batch
from pipelines.label.people.reviews import find_reviews
from pipelines.label.policies import LABEL_SCHEMA, POLICIES
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import (
    answer_as,
    fill_lake,
    list_pushed,
    open_desk,
)

TWO = ReviewSpec(overlap=2, min_alpha=-1)
FLIP = {"a": "b", "b": "a"}


def find_batch_id(lake: Lake) -> str:
    return str(lake.query("FROM batches ORDER BY created_at")["batch_id"][0])


def pull(lake: Lake, desk: FakeDesk, spec: ReviewSpec, told: list[str] | None = None) -> Any:
    told = [] if told is None else told
    pull_reviews(lake, new_run(), desk)
    return assess_batches(lake, new_run(tell=told.append), spec)


def say(desk: FakeDesk, lake: Lake, review: dict[str, Any], **sides: str | None) -> None:
    for person, side in sides.items():
        answer_as(desk, lake, review, person, side)


def test_agreement_becomes_gold_whatever_side_it_was_shown_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = {pair["pair_id"]: pair for pair in fill_lake(lake, 12)}
        push_reviews(lake, new_run(), desk, TWO)
        for review in list_pushed(lake):
            better = pairs[review["pair_id"]]["better"]
            say(desk, lake, review, ada=better, bob=better)
        assert pull(lake, desk, TWO) == {"below": 0, "requeued": 0, "adjudications": 0}
        batch = find_batch_id(lake)
        summary = release_batch(lake, new_run(), batch[:8], "Mira", TWO)
        assert (summary.rows_in, summary.kept, summary.extra["waiting"]) == (12, 12, 0)
        gold = lake.query("FROM judgments WHERE annotator = ?", [f"people:{batch}"])
        assert len(gold) == 12 and gold["gold"].all() and set(gold["kind"]) == {"human"}
        by_pair = {row["response_a"]: row["p_a"] for row in gold.to_dicts()}
        for pair in pairs.values():
            assert by_pair[pair["response_a"]] == float(pair["better"] == "a")
        released = lake.query("FROM releases").to_dicts()
        assert {row["approved_by"] for row in released} == {"Mira"}
        assert json.loads(released[0]["gates"])["gates"][1]["name"] == "alpha"

        labels = label(lake, list(pairs.values()), "judge_only")
        assert set(labels["decided_by"]) == {"human"} and set(labels["tier"]) == {"gold"}
        again = release_batch(lake, new_run(), batch, "Mira", TWO)
        assert again.rows_in == 0
        assert len(lake.query("FROM releases")) == 12


def label(lake: Lake, pairs: list[dict[str, Any]], policy: str) -> pl.DataFrame:
    keys = ("pair_id", "prompt_id", "response_a", "response_b")
    frame = pl.DataFrame([{key: pair[key] for key in keys} for pair in pairs])
    judgments = keep_counted(lake.query("FROM judgments")).with_columns(
        one_order=pl.lit(False), p_raw="p_a", model=pl.lit(None, pl.String)
    )
    labels = POLICIES[policy](frame, judgments, 0.6)
    return discard(labels, find_discarded(lake))


def test_disagreement_goes_to_a_third_and_what_stays_undecided_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = fill_lake(lake, 5)
        push_reviews(lake, new_run(), desk, TWO)
        agreed, torn, hopeless, unsure, open_ = list_pushed(lake)
        say(desk, lake, agreed, ada="a", bob="a")
        say(desk, lake, torn, ada="a", bob="b")
        say(desk, lake, hopeless, ada="a", bob=None)
        say(desk, lake, unsure, ada=None, bob=None)
        say(desk, lake, open_, ada="b")
        assert pull(lake, desk, TWO)["adjudications"] == 2
        assert pull(lake, desk, TWO)["adjudications"] == 0
        batch = find_batch_id(lake)
        summary = release_batch(lake, new_run(), batch, "Mira", TWO)
        assert (summary.kept, summary.dropped) == (1, {"undecided": 1})
        assert summary.extra["waiting"] == 3

        push_reviews(lake, new_run(), desk, TWO)
        thirds = {row["pair_id"]: row for row in list_pushed(lake, "adjudication")}
        assert thirds.keys() == {torn["pair_id"], hopeless["pair_id"]}
        assert {row["batch_id"] for row in thirds.values()} == {batch}
        (title,) = desk.ask(
            "SELECT title FROM projects WHERE id = ?", thirds[torn["pair_id"]]["project_id"]
        )[0]
        assert title == "Assay adjudication"
        # who took part in the disagreement cannot settle it
        say(desk, lake, thirds[torn["pair_id"]], ada="a")
        assert pull(lake, desk, TWO)["requeued"] == 1
        push_reviews(lake, new_run(), desk, TWO)
        again = [r for r in list_pushed(lake, "adjudication") if r["round"] == 1]
        say(desk, lake, again[0], cy="b")
        say(desk, lake, thirds[hopeless["pair_id"]], cy=None)
        pull(lake, desk, TWO)
        summary = release_batch(lake, new_run(), batch, "Mira", TWO)
        assert (summary.kept, summary.dropped, summary.extra["waiting"]) == (1, {"undecided": 1}, 1)
        rows = {row["pair_id"]: row for row in lake.query("FROM releases").to_dicts()}
        assert rows[torn["pair_id"]]["p_a"] == 0.0
        assert rows[torn["pair_id"]]["annotators"] == ["person-cy"]
        for pair_id in (hopeless["pair_id"], unsure["pair_id"]):
            assert rows[pair_id]["outcome"] == "discarded"
            assert rows[pair_id]["reason"] == "people could not decide"
        labels = {row["pair_id"]: row for row in label(lake, pairs, "judge_only").to_dicts()}
        assert labels[hopeless["pair_id"]]["status"] == "discarded"
        assert labels[hopeless["pair_id"]]["p_a"] is None
        assert labels[torn["pair_id"]]["status"] == "labelled"
        assert labels[open_["pair_id"]]["status"] == "to_review"
        assert set(labels[open_["pair_id"]]) == set(LABEL_SCHEMA)


def test_a_majority_of_three_decides_without_a_third_opinion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ReviewSpec(overlap=3, min_alpha=-1)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk, spec)
        led, tied, scattered = list_pushed(lake)
        say(desk, lake, led, ada="a", bob="b", cy="a")
        say(desk, lake, tied, ada="a", bob="tie", cy="tie")
        say(desk, lake, scattered, ada="a", bob="tie", cy="b")
        assert pull(lake, desk, spec)["adjudications"] == 1
        release_batch(lake, new_run(), find_batch_id(lake), "Mira", spec)
        rows = {row["pair_id"]: row for row in lake.query("FROM releases").to_dicts()}
        assert rows[led["pair_id"]]["p_a"] == pytest.approx(2 / 3)
        assert rows[led["pair_id"]]["agreement"] == pytest.approx(2 / 3)
        assert rows[tied["pair_id"]]["tie"] and rows[tied["pair_id"]]["p_a"] == 0.5
        assert scattered["pair_id"] not in rows


def test_who_fails_hidden_gold_is_set_aside_and_the_items_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ReviewSpec(overlap=2, gold_rate=0.5, min_alpha=-1)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = {pair["pair_id"]: pair for pair in fill_lake(lake, 40, gold=40)}
        push_reviews(lake, new_run(), desk, spec)
        for review in list_pushed(lake):
            better = pairs[review["pair_id"]]["better"]
            say(desk, lake, review, ada=better, mal=FLIP[better])
        told: list[str] = []
        found = pull(lake, desk, spec, told)
        assert (found["below"], found["requeued"]) == (1, 40)
        assert "person-mal is set aside" in told[0] and "40" in told[0] and "40 items" in told[1]
        standings = {row["person"]: row for row in lake.query("FROM standings").to_dicts()}
        assert standings["person-mal"]["below"] and not standings["person-ada"]["below"]
        assert (standings["person-mal"]["gold_accuracy"], standings["person-ada"]["gold_n"]) == (
            0.0, 40,
        )  # fmt: skip
        assert pull(lake, desk, spec, told) == {"below": 0, "requeued": 0, "adjudications": 0}
        batch = find_batch_id(lake)
        with pytest.raises(NotReleased, match="no item has two labels"):
            release_batch(lake, new_run(), batch, "Mira", spec)

        push_reviews(lake, new_run(), desk, spec)
        second = [r for r in list_pushed(lake) if r["round"] == 1]
        assert len(second) == 40 and {r["overlap"] for r in second} == {1}
        for review in second:
            say(desk, lake, review, bob=pairs[review["pair_id"]]["better"])
        pull(lake, desk, spec)
        done = release_batch(lake, new_run(), batch, "Mira", spec)
        assert (done.kept, done.extra["waiting"]) == (40, 0)
        rows = lake.query("FROM releases").to_dicts()
        assert all(row["annotators"] == ["person-ada", "person-bob"] for row in rows)
        assert all(row["p_a"] == float(pairs[row["pair_id"]]["better"] == "a") for row in rows)
        aside = json.loads(rows[0]["gates"])["set_aside"]
        assert len(aside["below"]) == 80
        # gold was known before, and is not released again
        assert not {row["pair_id"] for row in rows} & {
            row["pair_id"] for row in list_pushed(lake, "gold")
        }


def test_a_batch_that_fails_a_gate_is_refused_with_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ReviewSpec(overlap=2, gold_rate=0.2)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 20, gold=10)
        push_reviews(lake, new_run(), desk, spec)
        for place, review in enumerate(list_pushed(lake)):
            say(desk, lake, review, ada="ab"[place % 2], bob="ab"[place // 2 % 2])
        pull(lake, desk, spec)
        with pytest.raises(NotReleased, match=r"alpha is -?0\.\d+.*must be 0\.4"):
            release_batch(lake, new_run(), find_batch_id(lake), "Mira", spec)
        with pytest.raises(NotReleased, match=r"labels on hidden gold are right"):
            release_batch(lake, new_run(), find_batch_id(lake), "Mira", spec)
        assert lake.query("FROM releases").is_empty()
        assert not lake.query("FROM judgments")["annotator"].str.starts_with("people:").any()


def test_a_release_needs_an_approver_and_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        with pytest.raises(NotReleased, match="push one first"):
            release_batch(lake, new_run(), "x", "Mira")
        fill_lake(lake, 1)
        push_reviews(lake, new_run(), desk)
        batch = find_batch_id(lake)
        with pytest.raises(NotReleased, match="--approved-by"):
            release_batch(lake, new_run(), batch, "  ")
        with pytest.raises(NotReleased, match=batch):
            release_batch(lake, new_run(), "nothing", "Mira")
        empty = release_batch(lake, new_run(), batch, "Mira")
        assert (empty.rows_in, empty.extra["waiting"]) == (0, 1)


def test_a_project_a_person_keeps_a_third_opinion_from_those_who_disagreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = ["ada@example.org", "bob@example.org", "cy@example.org"]
    spec = ReviewSpec(overlap=2, per_person=True, people=people, min_alpha=-1)
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        fill_lake(lake, 1)
        push_reviews(lake, new_run(), desk, spec)
        for review, side in zip(list_pushed(lake), "ab", strict=True):
            say(desk, lake, review, **{review["assignee"]: side})
        assert pull(lake, desk, spec)["adjudications"] == 1
        first = {row["assignee"] for row in list_pushed(lake)}
        push_reviews(lake, new_run(), desk, spec)
        (third,) = list_pushed(lake, "adjudication")
        assert third["assignee"] not in first
        (title,) = desk.ask("SELECT title FROM projects WHERE id = ?", third["project_id"])[0]
        assert title.startswith("Assay adjudication for ")
        say(desk, lake, third, **{third["assignee"]: "b"})
        assert pull(lake, desk, spec) == {"below": 0, "requeued": 0, "adjudications": 0}
        done = release_batch(lake, new_run(), find_batch_id(lake), "Mira", spec)
        assert (done.kept, done.extra["waiting"]) == (1, 0)
        assert find_reviews(lake, "status <> 'answered'").is_empty()
