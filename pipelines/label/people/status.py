"""Where people's work stands: what waits, what their minutes bought, where the next pay most."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import polars as pl

from annotators.people.minutes import sum_minutes
from pipelines.label.people.assessing import find_batched, list_annotations
from pipelines.label.people.counting import PERSON
from pipelines.label.people.gains import PARTS
from pipelines.label.people.planning import choose_next
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.label.reliability import clean_numbers
from pipelines.lake.catalogue import Lake
from schemas.recipe import ReviewSpec

NEXT_MINUTES = 100.0
SAYINGS = {
    "entropy": "the label is unsure",
    "disagreement": "the judges disagree",
    "signal": "the reward models and signals are unsure",
}


def review_status(lake: Lake, spec: ReviewSpec | None = None) -> dict[str, Any]:
    """What `assay review status --json` prints.

    queued, pushed, answered: reviews by how far they are; answered by an answer that was not taken
        back. adjudications: of these, third opinions that are still open.
    batches: one each, with its tasks, those answered, and its items released and discarded.
    ledger: minutes, seconds a label and a kept pair, over all (`annotators.people.minutes`) and by
        batch. A pair is kept where it was released as gold.
    next: what the next 100 minutes would go to, by category: pairs, minutes, the gain expected (in
        labels) and a minute of it, and why.
    """
    spec = spec or ReviewSpec()
    reviews = find_reviews(lake)
    answers = find_answers(lake).filter(pl.col("set_aside").is_null())
    return {
        **_count(lake, reviews, answers),
        "batches": list_batches(lake, reviews),
        "ledger": keep_ledger(lake),
        "next": _look_ahead(lake, spec),
    }


def describe_status(found: dict[str, Any]) -> str:
    """The same for people."""
    counts = ("queued", "pushed", "answered", "adjudications")
    lines = ["  ".join(f"{name}: {found[name]}" for name in counts)]
    for row in found["batches"]:
        lines.append(
            f"batch {row['batch_id'][:12]}  {row['title']}  {row['answered']} of {row['tasks']} "
            f"tasks answered  {row['gold']} pairs released  {row['discarded']} discarded"
        )
    total = found["ledger"]["all"]
    if total:
        lines.append(
            f"people spent {total['minutes'] or 0:.1f} minutes on {total['n']} annotations: "
            f"{_say(total['seconds_per_label'])} s a label, "
            f"{_say(total['seconds_per_kept'])} s a released pair"
        )
    if found["next"]:
        lines.append(f"the next {NEXT_MINUTES:g} minutes pay most here:")
    for row in found["next"]:
        lines.append(
            f"  {row['category']}: {row['pairs']} pairs, {row['minutes']:.0f} minutes, "
            f"{row['gain_per_minute']:.2f} labels' worth a minute, because {row['why']}"
        )
    return "\n".join(lines)


def _count(lake: Lake, reviews: pl.DataFrame, answers: pl.DataFrame) -> dict[str, int]:
    standing = set(answers["review_id"]) | _find_former(lake, reviews)
    counts: Counter[str] = Counter()
    for row in reviews.iter_rows(named=True):
        status = row["status"]
        is_shown = status in ("pushed", "answered")
        if (is_shown or status == "gone") and row["project_id"] is None:
            continue  # its people's own tasks are counted
        status = {"planned": "queued"}.get(status, status)
        if status == "answered" and row["review_id"] not in standing:
            status = "pushed"
        if status == "gone" and row["review_id"] in standing:
            status = "answered"
        counts[status] += 1
        if row["role"] == "adjudication" and status not in ("answered", "gone"):
            counts["adjudications"] += 1
    return {name: counts[name] for name in ("queued", "pushed", "answered", "adjudications")}


def _find_former(lake: Lake, reviews: pl.DataFrame) -> set[str]:
    """The reviews of older lakes whose answers stand, which name no review."""
    found = lake.query(
        "SELECT review_id FROM former JOIN ("
        "SELECT annotator, response_a, response_b, valid FROM judgments "
        "WHERE kind = 'human' AND starts_with(annotator, ?) "
        "AND json_extract_string(detail, '$.review_id') IS NULL "
        "QUALIFY row_number() OVER (PARTITION BY annotator, response_a, response_b "
        "ORDER BY created_at DESC, detail DESC, judgment_id DESC) = 1"
        ") USING (response_a, response_b) WHERE valid",
        [PERSON],
        former=reviews.filter(pl.col("batch_id").is_null()).select(
            "review_id", "response_a", "response_b"
        ),
    )
    return set(found["review_id"])


def list_batches(lake: Lake, reviews: pl.DataFrame) -> list[dict[str, Any]]:
    """The batches in their order, with their tasks, those answered, and their items released as
    gold and discarded."""
    answered = (pl.col("status") == "answered") | _is_kept(lake, reviews)
    shown = pl.col("project_id").is_not_null() & ((pl.col("status") != "gone") | answered)
    tasks = reviews.group_by("batch_id").agg(tasks=shown.sum(), answered=(shown & answered).sum())
    outcomes = lake.query(
        "SELECT batch_id, count_if(outcome = 'gold') AS gold, "
        "count_if(outcome = 'discarded') AS discarded FROM releases GROUP BY batch_id"
    )
    batches = lake.query(
        "SELECT batch_id, title, question, overlap, expected_minutes FROM batches "
        "ORDER BY created_at"
    )
    return (
        batches.join(tasks, on="batch_id", how="left", maintain_order="left")
        .join(outcomes, on="batch_id", how="left", maintain_order="left")
        .with_columns(pl.col("tasks", "answered", "gold", "discarded").fill_null(0))
        .to_dicts()
    )


def _is_kept(lake: Lake, reviews: pl.DataFrame) -> pl.Expr:
    """Whether a review's task is gone from the desk and its answers are not."""
    is_gone = pl.col("status") == "gone"
    if reviews.filter(is_gone).is_empty():
        return pl.lit(False)
    counted = find_answers(lake).filter(pl.col("set_aside").is_null())["review_id"]
    return is_gone & pl.col("review_id").is_in(counted.unique().to_list())


def keep_ledger(lake: Lake) -> dict[str, Any]:
    """What `annotators.people.minutes.sum_minutes` says of all answers in batches (`all`, None
    where there are none) and of each batch (`by_batch`)."""
    said = list_timed(find_batched(lake))
    if said.is_empty():
        return {"all": None, "by_batch": []}
    kept = lake.query("SELECT DISTINCT pair_id AS item FROM releases WHERE outcome = 'gold'")
    return clean_numbers(
        {
            "all": sum_minutes(said, kept, by=()).row(0, named=True),
            "by_batch": sum_minutes(said, kept, by=("batch",)).to_dicts(),
        }
    )


def list_timed(answers: pl.DataFrame) -> pl.DataFrame:
    """`assessing.list_annotations` as the ledger counts them: of an item that one person answered
    twice the later row alone, which holds no earlier time."""
    said = list_annotations(answers).sort("updated_at", maintain_order=True)
    return said.unique(["batch", "item", "annotator"], keep="last", maintain_order=True)


def _look_ahead(lake: Lake, spec: ReviewSpec) -> list[dict[str, Any]]:
    """The next minutes by category, what pays most first."""
    chosen = choose_next(lake, spec, "preference", NEXT_MINUTES * 60)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in chosen:
        groups.setdefault(row["category"] or "?", []).append(row)
    rows = []
    for category, members in groups.items():
        gain = sum(row["gain"] for row in members)
        minutes = sum(row["seconds"] for row in members) / 60
        rows.append(
            {
                "category": category,
                "pairs": len(members),
                "minutes": minutes,
                "gain": gain,
                "gain_per_minute": gain / minutes if minutes else 0.0,
                "why": _say_why(members),
            }
        )
    return sorted(rows, key=lambda row: (-row["gain_per_minute"], row["category"]))


def _say_why(members: list[dict[str, Any]]) -> str:
    """The part of the gain that is highest on average, among those that are known."""
    parts: dict[str, list[float]] = {}
    for row in members:
        why = json.loads(row["why"] or "{}")
        for name in PARTS:
            if name in why:
                parts.setdefault(name, []).append(float(why[name]))
    if not parts:
        return "nothing is known of them yet"
    means = {name: sum(values) / len(values) for name, values in parts.items()}
    name = max(sorted(means), key=lambda part: means[part])
    return f"{SAYINGS[name]} ({means[name]:.2f} of 1)"


def _say(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
