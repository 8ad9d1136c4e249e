"""The section "People" of a report: two batches through a fake desk, one of them refused."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.people.agreement import measure_alpha
from annotators.people.minutes import trace_curve
from annotators.people.standing import measure_standing
from pipelines.label.people.assessing import (
    assess_batches,
    find_batched,
    list_annotations,
    list_truths,
)
from pipelines.label.people.ledger import find_kept, keep_ledger
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import NotReleased, measure_gates, release_batch
from pipelines.label.people.status import review_status
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import new_run
from pipelines.ship.figures_people import plot_minutes, plot_people
from pipelines.ship.publish import find_version
from pipelines.ship.report import gather_facts, render_report
from pipelines.ship.report_people import describe_people, trace_gold
from schemas.ids import make_id
from schemas.recipe import ReviewSpec, parse_recipe
from tests.pipelines.label.people.fake_desk import FakeDesk
from tests.pipelines.label.people.people_lake import fill_lake, list_pushed, open_desk
from tests.pipelines.ship.test_report import EXAM, RECIPE, Page, append, make_version
from tests.pipelines.ship.test_report_reliability import read_text

FLIP = {"a": "b", "b": "a"}
SPEC = ReviewSpec(overlap=2, gold_rate=0.5)
TEXTS = parse_recipe({**RECIPE, "review": SPEC.model_dump()}).model_dump(mode="json")
Pair = dict[str, Any]


def answer(
    desk: FakeDesk, review: Pair, person: str, side: str | None, seconds: float = 30.0
) -> None:
    said: Pair = {"choice": None, "undecided": True}
    if side == "tie":
        said = {"choice": "tie", "strength": 0}
    elif side is not None:
        said = {"choice": "left" if side == review["left"] else "right", "strength": 1}
    desk.submit(review["review_id"], person, seconds, **said)


def publish(lake: Lake, version: int, pairs: list[Pair], batch: str | None) -> None:
    """A version of `pairs` as it would stand now; without a batch nobody's label is in it."""
    frozen = [
        {"name": "small", "version": version, "prompt_id": pair["prompt_id"],
         "pair_id": pair["pair_id"], "chosen_id": pair[f"response_{pair['better']}"],
         "rejected_id": pair[f"response_{FLIP[pair['better']]}"], "probability": 0.9, "margin": 0.8,
         "weight": 1.0, "tier": "gold" if batch else "silver",
         "decided_by": "human" if batch else "llm",
         "annotators": [f"people:{batch}"] if batch else ["judge"], "licence": "mit",
         "split": "train", "source": "test", "category": "advice"}
        for pair in pairs
    ]  # fmt: skip
    made = make_version(
        lake.snapshot(), version=version, rows=len(frozen), fingerprint=f"{version}" * 32,
        recipe=json.dumps(TEXTS),
    )  # fmt: skip
    append(lake, {"version_pairs": frozen, "versions": [made]})


def list_batch_ids(lake: Lake) -> list[str]:
    return lake.query("FROM batches ORDER BY created_at")["batch_id"].to_list()


def settle(lake: Lake, desk: FakeDesk) -> None:
    pull_reviews(lake, new_run(), desk)
    assess_batches(lake, new_run(), SPEC)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """`small@1` before anybody was asked; `small@2` after two batches. In the first ada is right,
    bob cannot decide on every eighth, mal is wrong (and set aside), cy answers in mal's place;
    in the second, ada and bob toss coins."""
    with (
        pytest.MonkeyPatch.context() as patch,
        open_desk(tmp_path_factory.mktemp("people"), patch) as (lake, desk),
    ):
        made = fill_lake(lake, 36, gold=36)
        pairs = {pair["pair_id"]: pair for pair in made}
        publish(lake, 1, made[:4], None)
        push_reviews(lake, new_run(), desk, SPEC, title="First <b>")
        for place, review in enumerate(list_pushed(lake)):
            better = pairs[review["pair_id"]]["better"]
            answer(desk, review, "ada", "tie" if place % 9 == 0 else better)
            answer(desk, review, "mal", FLIP[better], seconds=4.0)
        settle(lake, desk)
        push_reviews(lake, new_run(), desk, SPEC, title="First <b>")
        for place, review in enumerate(r for r in list_pushed(lake) if r["round"] == 1):
            better = pairs[review["pair_id"]]["better"]
            answer(desk, review, "cy", None if place % 12 == 0 else better, seconds=60.0)
        settle(lake, desk)
        (first,) = list_batch_ids(lake)
        release_batch(lake, new_run(), first, "Mira <i>", SPEC)
        more = fill_more(lake)
        push_reviews(lake, new_run(), desk, SPEC, title="Second")
        open_ = [r for r in list_pushed(lake) if r["batch_id"] != first]
        for place, review in enumerate(open_):
            answer(desk, review, "ada", "ab"[place % 2])
            answer(desk, review, "bob", "ab"[place // 2 % 2])
        settle(lake, desk)
        (second,) = [batch for batch in list_batch_ids(lake) if batch != first]
        with pytest.raises(NotReleased):
            release_batch(lake, new_run(), second, "Mira <i>", SPEC)
        gold = set(lake.query("FROM releases WHERE outcome = 'gold'")["pair_id"])
        publish(lake, 2, [pair for pair in made if pair["pair_id"] in gold][:20], first)
        for number, score in ((1, 0.6), (2, 0.75)):
            ids = {"exam_id": f"e{number}", "version": number, "model_id": f"m{number}"}
            append(lake, {"exams": [{**EXAM, **ids, "score": score, "n": 200}]})
        release_batch(lake, new_run(), second, "Late", ReviewSpec(
            min_alpha=-1, min_gold_accuracy=0))  # fmt: skip
        assert len(more) == 12
        yield lake


def fill_more(lake: Lake) -> list[str]:
    """Twelve pairs of the pool that are asked again, as another pool would bring them."""
    rows = lake.query(
        "SELECT prompt_id, response_a, response_b FROM judgments WHERE judgment_id IN "
        "(SELECT 'gold-' || i FROM range(12) AS t(i))"
    ).to_dicts()
    reviews = [
        {**row, "pair_id": make_id("again", row["response_a"]), "status": "queued",
         "review_id": make_id("review", "again", row["response_a"]), "reason": "below_threshold",
         "left": "a", "question": "preference", "role": "work", "gain": 1.0,
         "why": json.dumps({"worth": 1.0})}
        for row in rows
    ]  # fmt: skip
    append(lake, {"reviews": reviews})
    return [row["review_id"] for row in reviews]


@pytest.fixture(scope="module")
def all_facts(lake: Lake) -> Pair:
    return gather_facts(lake, "small", 2)


@pytest.fixture(scope="module")
def facts(all_facts: Pair) -> Pair:
    return all_facts["people"]


def read_section(page: str) -> str:
    return page[page.index('<section id="people">') : page.index('<section id="composition">')]


def test_the_figures_are_what_the_functions_say(lake: Lake, facts: Pair) -> None:
    with lake.look_back(find_version(lake, "small@2").snapshot) as past:
        answers = find_batched(past)
        status = review_status(past, SPEC)
    first, second = facts["batches"]
    for row, known in zip((first, second), status["batches"], strict=True):
        assert row.items() >= known.items()
        mine = answers.filter(pl.col("batch") == row["batch_id"])
        counted = list_annotations(mine).filter(
            pl.col("set_aside").is_null() & (pl.col("role") != "adjudication")
        )
        assert row["alpha"] == asdict(measure_alpha(counted))
        batch = lake.query("FROM batches WHERE batch_id = ?", [row["batch_id"]]).row(0, named=True)
        assert row["gates"] == [asdict(gate) for gate in measure_gates(batch, mine, SPEC)]
    said = list_annotations(answers)
    standing = measure_standing(said, list_truths(said), bar=SPEC.min_gold_accuracy).to_dicts()
    told = {(row["batch"], row["annotator"]): row for row in facts["people"]}
    assert len(told) == len(standing) == 5
    for row in standing:
        mine = told[row["batch"], row["annotator"]]
        assert {name: mine[name] for name in row} == pytest.approx(row, nan_ok=True)
    kept = find_kept(lake, ("small", 2))
    assert len(kept) == 20 and find_kept(lake, ("small", 1)).is_empty()
    with lake.look_back(find_version(lake, "small@2").snapshot) as past:
        ledger = keep_ledger(past, kept)
    assert facts["ledger"]["all"] == ledger["all"]
    assert [{**row, "number": 0} for row in facts["ledger"]["by_batch"]] == sorted(
        ({"number": 0, **row} for row in ledger["by_batch"]),
        key=lambda row: [first["batch_id"], second["batch_id"]].index(row["batch"]),
    )
    assert {row["annotator"]: len(row["standings"]) for row in facts["persons"]} == {
        "person-ada": 2, "person-bob": 1, "person-cy": 1, "person-mal": 1,
    }  # fmt: skip
    assert [row["n"] for row in first["kappas"]] == [33] and len(second["kappas"]) == 1


def test_what_was_planted_is_told(lake: Lake, facts: Pair) -> None:
    first, second = facts["batches"]
    people = {(row["number"], row["annotator"]): row for row in facts["people"]}
    assert people[1, "person-mal"]["aside"] and people[1, "person-mal"]["accuracy"] == 0
    assert people[1, "person-mal"]["fast"] and not people[1, "person-ada"]["fast"]
    assert not any(row["aside"] for key, row in people.items() if key != (1, "person-mal"))
    assert (first["approved_by"], first["failed"], first["people"]) == (["Mira <i>"], [], 3)
    assert (second["approved_by"], second["gold"], second["waiting"]) == ([], 0, 12), "not yet"
    assert {"alpha", "gold_accuracy"} <= set(second["failed"])
    assert first["in_version"] == 20 and second["in_version"] == 0
    assert first["gold"] + first["discarded"] + first["waiting"] == first["items"] == 36
    last = facts["curve"][-1]
    assert last["minutes"] == pytest.approx(facts["ledger"]["all"]["minutes"])
    total = facts["ledger"]["all"]
    assert last["gold"] == first["gold"] == total["n_released"] > total["n_kept"] == 20
    assert total["seconds_per_kept"] == pytest.approx(60 * total["minutes"] / 20)
    assert total["minutes_set_aside"] == pytest.approx(72 * 4 / 60), "mal's minutes are spent too"
    assert total["minutes_gold"] > 0 and total["minutes_skipped"] == 0
    assert facts["learning"]["gold"] < facts["learning"]["needed"]
    voices = {row["annotator"]: row for row in facts["voices"]}
    assert voices["person-ada"]["accuracy"] > 0.6 > 0.3 > voices["person-mal"]["accuracy"]
    one, two = facts["exams"]
    assert (one["version"], one["minutes"], one["accuracy"]) == (1, 0.0, 0.6)
    assert (two["version"], two["minutes"]) == (2, facts["ledger"]["all"]["minutes"])
    points = pl.DataFrame([{name: row[name] for name in ("minutes", "accuracy", "n")}
                           for row in (one, two)])  # fmt: skip
    assert [{"version": 1 + place, **row} for place, row in
            enumerate(trace_curve(points).to_dicts())] == [one, two]  # fmt: skip


def test_the_page_says_it_and_escapes_names(all_facts: Pair, facts: Pair) -> None:
    page = render_report(all_facts)
    assert not Page(page).open
    assert '<a href="#people">' in page
    section = read_section(page)
    text = html.unescape(read_text(section))
    total = facts["ledger"]["all"]
    assert f"went into {total['n']} answers: 1 min 5 s a label" in text
    assert round(total["seconds_per_label"]) == 65
    assert "20 of the 20 pairs of this version have their label from them" in text
    assert "Mira &lt;i&gt;" in section and "<i>" not in section and "First &lt;b&gt;" in section
    assert "Late" not in text
    assert "Batch 2 fails its gates." in text and "Batch 1 fails" not in text
    for gate in facts["batches"][1]["gates"]:
        assert f"{'Passed' if gate['passed'] else 'Failed'}: {gate['sentence']}" in text
    assert "Batch 1: set aside, right on 0 of 36 hidden gold items" in text
    assert "Fast: 0.09 of the others’ time" in text and "set aside, fast" in text
    assert section.count("<svg") == 2 and "No data" not in section
    assert section.count("<table") == section.count("<caption") > 10
    assert "No curve: 30 pairs are released as gold with a side, and 50 are needed" in text
    for page_id in ("batch-1", "batch-2", "person-ada", "person-mal"):
        assert f'<details id="{page_id}">' in section and f'href="#{page_id}"' in section
    assert "ordinal: answers far apart disagree more" in text
    assert page == render_report(all_facts)


def test_a_version_from_before_anybody_was_asked_has_no_such_section(lake: Lake) -> None:
    facts = gather_facts(lake, "small", 1)
    assert facts["people"] is None
    page = render_report(facts)
    assert 'id="people"' not in page and 'href="#people"' not in page
    older = replace(find_version(lake, "small@1"), snapshot=0)  # no table of batches yet
    assert describe_people(lake, older, {}) is None


def test_drift_is_a_remark(all_facts: Pair, facts: Pair) -> None:
    assert "got worse" not in read_section(render_report(all_facts))
    drift = {"drift": -0.25, "drift_low": -0.4, "drift_high": -0.1, "drift_by": "gold"}
    worse = {**facts["people"][0], **drift}
    page_of = {**facts["persons"][0], "standings": [worse]}
    people = {**facts, "people": [worse], "persons": [page_of]}
    text = read_text(read_section(render_report({**all_facts, "people": people})))
    assert "got worse on hidden gold" in text and "-25.0 -40.0 to -10.0, by gold" in text


def test_a_batch_that_nobody_has_answered_is_told_without_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_desk(tmp_path, monkeypatch) as (lake, desk):
        pairs = fill_lake(lake, 3)
        push_reviews(lake, new_run(), desk)
        publish(lake, 1, pairs, None)
        facts = gather_facts(lake, "small")
        people = describe_people(
            lake, find_version(lake, "small@1"), {"review": {"a setting of old": 1}}
        )
    (batch,) = facts["people"]["batches"]
    assert (batch["waiting"], batch["people"], batch["gates"]) == (3, 0, [])
    assert batch["alpha"]["value"] is None and facts["people"]["curve"] == []
    assert people is not None and people["bar"] == ReviewSpec().min_gold_accuracy
    page = render_report(facts)
    assert not Page(page).open
    section = read_section(page)
    assert "Nobody has answered yet." in section and "<svg" not in section
    assert section.count("<table") == 2  # the batches, and what is known of the one


def test_gold_is_counted_when_its_last_answer_is_in() -> None:
    spent = pl.DataFrame({"seconds": [60.0, None, 120.0, 90.0]})
    timed = pl.DataFrame({"minutes": [1.0, 3.0, 3.0]})
    assert list(trace_gold(spent, timed).iter_rows()) == [(0, 0), (1, 1), (3, 3), (4.5, 3)]
    assert trace_gold(spent, timed.clear())["gold"].to_list() == [0, 0]
    assert trace_gold(spent.clear(), timed.clear()).is_empty()


def test_figures_without_data_say_so() -> None:
    row: Pair = {"number": 1, "annotator": "person-ada", "accuracy": None}
    assert "hidden gold" in plot_people([row], 0.7) and "<svg" not in plot_people([], 0.7)
    for curve in ([], [{"minutes": 0.0, "gold": 3}], [{"minutes": 2.0, "gold": 0}]):
        assert plot_minutes(curve, []).startswith('<p class="no-data">')
