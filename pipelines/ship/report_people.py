"""What a report says of the people who were asked, as the lake stood at its version's snapshot.

All is told by `pipelines.label.people` and `annotators.people`: how each person stands as it was
recorded when their batch was last assessed, the gates of a released batch as they were measured at
its release. People go by their pseudonyms. Nothing here is formatted.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TypeVar

import polars as pl

from annotators.people.minutes import sum_minutes, trace_curve
from pipelines.label.people.assessing import find_batched
from pipelines.label.people.counting import PEOPLE
from pipelines.label.people.learning import trace_learning
from pipelines.label.people.ledger import find_kept, keep_ledger, list_spent, time_gold
from pipelines.label.people.releasing import measure_gates
from pipelines.label.people.resolving import find_below
from pipelines.label.people.reviews import find_reviews
from pipelines.label.people.status import list_batches
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.ship.people_pages import measure_agreement, weigh_voices
from pipelines.ship.publish import Published
from schemas.part import Part
from schemas.recipe import LabelSpec, ReviewSpec

POINTS_AT_MOST = 400
Row = dict[str, Any]
P = TypeVar("P", bound=Part)

HAS_BATCHES = """
SELECT 1 FROM duckdb_tables()
WHERE database_name = current_database() AND table_name = 'batches'
"""
SIGNED = """
SELECT batch_id, list(DISTINCT approved_by ORDER BY approved_by) AS approved_by,
    max_by(gates, created_at) AS gates
FROM releases GROUP BY batch_id
"""
LATEST_CARDS = """
SELECT batch_id, person, card FROM standings
QUALIFY row_number() OVER (PARTITION BY batch_id, person ORDER BY created_at DESC, measured) = 1
ORDER BY person
"""
USED = """
SELECT annotator, count(*) AS pairs FROM (
    SELECT unnest(annotators) AS annotator FROM version_pairs WHERE name = ? AND version = ?
) WHERE starts_with(annotator, ?) GROUP BY annotator
"""
EXAMINED = """
SELECT version, snapshot, heading, score, exam.n FROM exams AS exam
JOIN (SELECT name, version, snapshot FROM versions) USING (name, version)
WHERE name = ? AND version <= ? AND score IS NOT NULL AND exam.n > 0
QUALIFY row_number() OVER (PARTITION BY version ORDER BY exam.created_at DESC, exam_id) = 1
ORDER BY version
"""


def describe_people(lake: Lake, version: Published, recipe: Row) -> Row | None:
    """The facts of the section "People", for its template; None where nobody had been asked.

    Args:
        recipe: of the version. Batches that are not released are held to the bars of its `review`,
            and the curves are of the policy of its `label`; what it does not name is as
            `schemas.recipe` has it.

    Returns:
        bar: the accuracy on hidden gold that a batch must show.
        batches: those of the whole lake in their order, with a `number`: batch_id, title, question,
            overlap, items, gold_tasks, tasks, answered, people, alpha, ordinal and kappas (see
            `pipelines.ship.people_pages.measure_agreement`), gates
            (`annotators.people.gates.Gate` as dictionaries), failed (names of gates), approved_by
            (names), gold, discarded, waiting (items), in_version (its pairs that have the label
            it gave them).
        people: a row a batch (`number`) and person: the figures of
            `annotators.people.standing.measure_standing`, and aside.
        persons: a row a person: annotator, standings (its rows of `people`), kappas (one a batch
            and other person: number, other, kappa, n), minutes and the parts of it (see
            `annotators.people.minutes.sum_minutes`).
        voices: see `pipelines.ship.people_pages.weigh_voices`.
        ledger: see `pipelines.label.people.ledger.keep_ledger`, with a `number` by batch (0 before
            there were any); its kept pairs are those of this version.
        curve: minutes, gold: the labels released as gold whose answers were all given in as many of
            people's minutes, summed in the order of the answers.
        learning: see `pipelines.label.people.learning.trace_learning`; and rows: minutes, gold,
            labels and model (the point of each curve, or None).
        exams: what `annotators.people.minutes.trace_curve` says of the newest exams of the versions
            up to this one, with their `version`; none where fewer than two are alike.
    """
    if lake.query("FROM batches LIMIT 1").is_empty():
        return None
    spec = _read_part(ReviewSpec, recipe.get("review") or {})
    label = _read_part(LabelSpec, recipe.get("label") or {})
    used = dict(lake.query(USED, [version.name, version.version, PEOPLE]).iter_rows())
    with lake.look_back(version.snapshot) as past:
        if not _has_batches(past):
            return None
        answers = find_batched(past)
        batches = _describe_batches(past, answers, spec, used)
        numbers = {row["batch_id"]: row["number"] for row in batches}
        ledger = keep_ledger(past, find_kept(lake, (version.name, version.version)))
        spent = list_spent(past)
        curve = trace_gold(spent, time_gold(past, spent))
        people = _describe_people(past, answers, numbers)
        learning = trace_learning(past, label.policy, label.threshold)
        voices = weigh_voices(past, answers)
    by_batch = [{"number": numbers.get(row["batch"], 0), **row} for row in ledger["by_batch"]]
    return {
        "bar": spec.min_gold_accuracy,
        "batches": batches,
        "people": people,
        "persons": _gather_persons(people, batches, spent),
        "voices": voices,
        "ledger": {
            **ledger,
            "by_batch": sorted(by_batch, key=lambda row: row["number"]),
        },
        "curve": curve.to_dicts(),
        "learning": {**learning, "rows": _join_curves(learning)},
        "exams": _trace_exams(lake, version),
    }


def trace_gold(spent: pl.DataFrame, timed: pl.DataFrame) -> pl.DataFrame:
    """minutes, gold: how many labels had all the answers that made them gold, after how many
    minutes of people's time; at most about `POINTS_AT_MOST` points.

    Args:
        spent, timed: of `pipelines.label.people.ledger.list_spent` and `time_gold`.
    """
    total = (spent["seconds"].sum() or 0.0) / 60
    made = timed.group_by("minutes").agg(made=pl.len().cast(pl.Int64)).sort("minutes")
    points = made.select("minutes", gold=pl.col("made").cum_sum())
    if spent.is_empty():
        return points
    ends = [
        pl.DataFrame(rows, schema=points.schema, orient="row")
        for rows in ([(0.0, 0)], [(total, len(timed))])
    ]
    points = pl.concat([ends[0], points, ends[1]])
    every = max(1, len(points) // POINTS_AT_MOST)
    return pl.concat([points[:-1].gather_every(every), points[-1:]])


def _read_part(part: type[P], said: Row) -> P:
    """The settings that this program still knows: a version keeps the recipe it was made with."""
    return part(**{key: said[key] for key in part.model_fields if key in said})


def _has_batches(past: PastLake) -> bool:
    """Whether people had been asked: a lake of an older schema has no such table."""
    return not past.query(HAS_BATCHES).is_empty() and not past.query("FROM batches").is_empty()


def _describe_batches(
    past: PastLake, answers: pl.DataFrame, spec: ReviewSpec, used: dict[str, int]
) -> list[Row]:
    more = {row["batch_id"]: row for row in past.query("FROM batches").to_dicts()}
    signed = {row["batch_id"]: row for row in past.query(SIGNED).to_dicts()}
    rows = []
    for number, row in enumerate(list_batches(past, find_reviews(past)), 1):
        batch, release = more[row["batch_id"]], signed.get(row["batch_id"])
        mine = answers.filter(pl.col("batch") == row["batch_id"])
        if release:
            gates = json.loads(release["gates"])["gates"]
        else:
            gates = [asdict(gate) for gate in measure_gates(batch, mine, spec)]
        rows.append(
            {
                **row,
                "number": number,
                "items": batch["reviews"],
                "gold_tasks": batch["gold"],
                "people": mine["annotator"].n_unique(),
                **measure_agreement(mine, batch["question"]),
                "gates": gates,
                "failed": [gate["name"] for gate in gates if not gate["passed"]],
                "approved_by": release["approved_by"] if release else [],
                "waiting": batch["reviews"] - row["gold"] - row["discarded"],
                "in_version": used.get(f"{PEOPLE}{row['batch_id']}", 0),
            }
        )
    return rows


def _describe_people(past: PastLake, answers: pl.DataFrame, numbers: dict[str, int]) -> list[Row]:
    spoke = set(answers.select("batch", "annotator").unique().iter_rows())
    aside = set(find_below(past).iter_rows())
    rows = [
        {"number": numbers[batch], **json.loads(card), "aside": (batch, person) in aside}
        for batch, person, card in past.query(LATEST_CARDS).iter_rows()
        if (batch, person) in spoke
    ]
    return sorted(rows, key=lambda row: (row["number"], row["annotator"]))


def _gather_persons(people: list[Row], batches: list[Row], spent: pl.DataFrame) -> list[Row]:
    times = {row["annotator"]: row for row in sum_minutes(spent, ("annotator",)).to_dicts()}
    rows = []
    for name in sorted({row["annotator"] for row in people}):
        kappas = [
            {"number": batch["number"], "kappa": row["kappa"], "n": row["n"],
             "other": row["other"] if row["one"] == name else row["one"]}
            for batch in batches
            for row in batch["kappas"]
            if name in (row["one"], row["other"])
        ]  # fmt: skip
        standings = [row for row in people if row["annotator"] == name]
        rows.append({**times[name], "standings": standings, "kappas": kappas})
    return rows


def _join_curves(learning: Row) -> list[Row]:
    points: dict[float, Row] = {}
    for name in ("labels", "model"):
        for point in learning[name]:
            blank = {"minutes": point["minutes"], "gold": point["gold"]}
            blank |= {"labels": None, "model": None}
            points.setdefault(point["minutes"], blank)[name] = point
    return [points[minutes] for minutes in sorted(points)]


def _sum_minutes(past: PastLake) -> float:
    return float(list_spent(past)["seconds"].sum() or 0.0) / 60


def _trace_exams(lake: Lake, version: Published) -> list[Row]:
    """Only exams that go by the name of the newest say the same."""
    exams = lake.query(EXAMINED, [version.name, version.version]).to_dicts()
    alike = [exam for exam in exams if exam["heading"] == exams[-1]["heading"]]
    if len(alike) < 2:
        return []
    for exam in alike:
        with lake.look_back(exam["snapshot"]) as past:
            exam["minutes"] = _sum_minutes(past) if _has_batches(past) else 0.0
    alike.sort(key=lambda exam: (exam["minutes"], exam["version"]))
    points = pl.DataFrame(alike).select("minutes", "n", accuracy="score")
    curve = trace_curve(points).to_dicts()
    return [{"version": exam["version"], **point} for exam, point in zip(alike, curve, strict=True)]
