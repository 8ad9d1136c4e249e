"""What a report says of the people who were asked, as the lake stood at its version's snapshot.

All is told by `pipelines.label.people` and `annotators.people`: how each person stands as it was
recorded when their batch was last assessed, the gates of a released batch as they were measured at
its release. People go by their pseudonyms. Nothing here is formatted.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import polars as pl

from annotators.people.agreement import measure_alpha
from annotators.people.annotations import take_latest
from annotators.people.minutes import trace_curve
from pipelines.label.people.assessing import find_batched, list_annotations
from pipelines.label.people.counting import PEOPLE
from pipelines.label.people.releasing import measure_gates
from pipelines.label.people.resolving import find_below
from pipelines.label.people.reviews import find_reviews
from pipelines.label.people.status import keep_ledger, list_batches, list_timed
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.ship.publish import Published
from schemas.recipe import ReviewSpec

POINTS_AT_MOST = 400
Row = dict[str, Any]

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


def describe_people(lake: Lake, version: Published, review: Row) -> Row | None:
    """The facts of the section "People", for its template; None where nobody had been asked.

    Args:
        review: the `review` of the version's recipe, whose bars the batches are held to that are
            not released; what it does not name is as `schemas.recipe.ReviewSpec` has it.

    Returns:
        bar: the accuracy on hidden gold that a batch must show.
        batches: those of the whole lake in their order, with a `number`: batch_id, title, question,
            overlap, items, gold_tasks, tasks, answered, people, alpha
            (`annotators.people.agreement.Alpha` as a dictionary), gates
            (`annotators.people.gates.Gate` likewise), failed (names of gates), approved_by
            (names), gold, discarded, waiting (items), in_version (its pairs that have the label
            it gave them).
        people: a row a batch (`number`) and person: the figures of
            `annotators.people.standing.measure_standing`, and aside.
        ledger: see `pipelines.label.people.status.keep_ledger`, with a `number` by batch.
        curve: minutes, gold: the pairs released as gold whose answers were all given in as many of
            people's minutes, summed in the order of the answers.
        exams: what `annotators.people.minutes.trace_curve` says of the newest exams of the versions
            up to this one, with their `version`; none where fewer than two are alike.
    """
    if lake.query("FROM batches LIMIT 1").is_empty():
        return None
    spec = _read_spec(review)
    used = dict(lake.query(USED, [version.name, version.version, PEOPLE]).iter_rows())
    with lake.look_back(version.snapshot) as past:
        if not _has_batches(past):
            return None
        answers = find_batched(past)
        batches = _describe_batches(past, answers, spec, used)
        numbers = {row["batch_id"]: row["number"] for row in batches}
        ledger = keep_ledger(past)
        released = past.query("SELECT batch_id AS batch, pair_id FROM releases "
                              "WHERE outcome = 'gold'")  # fmt: skip
        people = _describe_people(past, answers, numbers)
    by_batch = [{"number": numbers[row["batch"]], **row} for row in ledger["by_batch"]]
    return {
        "bar": spec.min_gold_accuracy,
        "batches": batches,
        "people": people,
        "ledger": {
            "all": ledger["all"],
            "by_batch": sorted(by_batch, key=lambda row: row["number"]),
        },
        "curve": trace_gold(list_timed(answers), released).to_dicts(),
        "exams": _trace_exams(lake, version),
    }


def trace_gold(said: pl.DataFrame, released: pl.DataFrame) -> pl.DataFrame:
    """minutes, gold: how many pairs had all the answers that made them gold, after how many minutes
    of people's time; at most about `POINTS_AT_MOST` points.

    Args:
        said: of `pipelines.label.people.status.list_timed`.
        released: batch, pair_id of the gold.
    """
    order = ["updated_at", "review_id", "annotator", "item"]
    spent = said.sort(order, nulls_last=False).with_columns(
        place=pl.int_range(pl.len()), minutes=pl.col("seconds").fill_null(0).cum_sum() / 60
    )
    done = (
        spent.filter(pl.col("set_aside").is_null())
        .join(released.unique(), on=["batch", "pair_id"])
        .group_by("batch", "pair_id")
        .agg(pl.col("place").max())
        .group_by("pair_id")
        .agg(pl.col("place").min())
    )
    made = done.group_by("place").agg(made=pl.len().cast(pl.Int64))
    points = spent.join(made, on="place", how="left", maintain_order="left").select(
        "minutes", gold=pl.col("made").fill_null(0).cum_sum()
    )
    start = pl.DataFrame({"minutes": [0.0], "gold": [0]}, schema=points.schema)
    points = pl.concat([start, points]) if len(points) else points
    every = max(1, len(points) // POINTS_AT_MOST)
    return pl.concat([points[:-1].gather_every(every), points[-1:]])


def _read_spec(review: Row) -> ReviewSpec:
    """The settings that this program still knows: a version keeps the recipe it was made with."""
    return ReviewSpec(**{key: review[key] for key in ReviewSpec.model_fields if key in review})


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
                "alpha": _measure_alpha(mine),
                "gates": gates,
                "failed": [gate["name"] for gate in gates if not gate["passed"]],
                "approved_by": release["approved_by"] if release else [],
                "waiting": batch["reviews"] - row["gold"] - row["discarded"],
                "in_version": used.get(f"{PEOPLE}{row['batch_id']}", 0),
            }
        )
    return rows


def _measure_alpha(answers: pl.DataFrame) -> Row:
    """Of the answers that the gates count (`releasing.measure_gates`)."""
    counted = pl.col("set_aside").is_null() & (pl.col("role") != "adjudication")
    return asdict(measure_alpha(take_latest(list_annotations(answers).filter(counted), None)))


def _describe_people(past: PastLake, answers: pl.DataFrame, numbers: dict[str, int]) -> list[Row]:
    spoke = set(answers.select("batch", "annotator").unique().iter_rows())
    aside = set(find_below(past).iter_rows())
    rows = [
        {"number": numbers[batch], **json.loads(card), "aside": (batch, person) in aside}
        for batch, person, card in past.query(LATEST_CARDS).iter_rows()
        if (batch, person) in spoke
    ]
    return sorted(rows, key=lambda row: (row["number"], row["annotator"]))


def _trace_exams(lake: Lake, version: Published) -> list[Row]:
    """Only exams that go by the name of the newest say the same."""
    exams = lake.query(EXAMINED, [version.name, version.version]).to_dicts()
    alike = [exam for exam in exams if exam["heading"] == exams[-1]["heading"]]
    if len(alike) < 2:
        return []
    for exam in alike:
        with lake.look_back(exam["snapshot"]) as past:
            total = keep_ledger(past)["all"] if _has_batches(past) else None
        exam["minutes"] = (total or {}).get("minutes") or 0.0
    alike.sort(key=lambda exam: (exam["minutes"], exam["version"]))
    points = pl.DataFrame(alike).select("minutes", "n", accuracy="score")
    curve = trace_curve(points).to_dicts()
    return [{"version": exam["version"], **point} for exam, point in zip(alike, curve, strict=True)]
