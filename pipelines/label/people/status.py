"""Where people's work stands: what waits, what their minutes bought, where the next pay most."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import polars as pl

from pipelines.label.people.counting import PERSON
from pipelines.label.people.gains import PARTS
from pipelines.label.people.learning import trace_learning
from pipelines.label.people.ledger import find_kept, keep_ledger
from pipelines.label.people.planning import choose_next
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake
from schemas.recipe import LabelSpec, ReviewSpec

NEXT_MINUTES = 100.0
LIKELY = 0.8  # of the share of people who agree: what is undescribed, or better
FRESH = 0.5
SAYINGS = {
    "entropy": "the label is unsure",
    "disagreement": "the judges disagree",
    "signal": "the reward models and signals are unsure",
}
SPENT_ON = {
    "work": "work", "gold": "hidden gold", "adjudication": "third opinions",
    "skipped": "what was skipped", "set_aside": "what was set aside",
    "taken_back": "what was taken back", "unreadable": "what could not be read",
}  # fmt: skip
BOUGHT = {
    "label": "a label", "released": "an item released as gold",
    "kept": "a pair that a published version holds as gold",
}  # fmt: skip


def review_status(
    lake: Lake, spec: ReviewSpec | None = None, label: LabelSpec | None = None
) -> dict[str, Any]:
    """What `assay review status --json` prints.

    Args:
        label: whose policy the curves are of; without it there are none.

    Returns:
    queued, pushed, answered: reviews by how far they are; answered by an answer that was not taken
        back. adjudications: of these, third opinions that are still open.
    batches: one each, with its tasks, those answered, and its items released and discarded.
    ledger: minutes by what they were spent on, seconds a label, a released item and a kept pair
        (`pipelines.label.people.ledger`). A pair is kept where a published version holds it as
        gold.
    learning: how right labels and a small reward model were after how many minutes
        (`pipelines.label.people.learning`); None without `label`.
    next: what the next 100 minutes would go to, by category and question: tasks, minutes, the gain
        expected (in labels) and a minute of it, the parts of it, and why.
    """
    spec = spec or ReviewSpec()
    reviews = find_reviews(lake)
    answers = find_answers(lake).filter(pl.col("set_aside").is_null())
    return {
        **_count(lake, reviews, answers),
        "batches": list_batches(lake, reviews),
        "ledger": keep_ledger(lake, find_kept(lake)),
        "learning": trace_learning(lake, label.policy, label.threshold) if label else None,
        "next": _look_ahead(lake, spec),
    }


def describe_status(found: dict[str, Any]) -> str:
    """The same for people."""
    counts = ("queued", "pushed", "answered", "adjudications")
    lines = ["  ".join(f"{name}: {found[name]}" for name in counts)]
    for row in found["batches"]:
        lines.append(
            f"batch {row['batch_id'][:12]}  {row['title']}  {row['answered']} of {row['tasks']} "
            f"tasks answered  {row['gold']} released  {row['discarded']} discarded"
        )
    lines += _describe_ledger(found["ledger"]["all"]) + _describe_next(found["next"])
    return "\n".join(lines)


def _describe_ledger(total: dict[str, Any] | None) -> list[str]:
    if not total:
        return []
    parts = [
        f"{total[f'minutes_{name}']:.1f} on {words}"
        for name, words in SPENT_ON.items()
        if total[f"minutes_{name}"]
    ]
    bought = [
        f"{total[f'seconds_per_{name}']:.0f} s {words}"
        for name, words in BOUGHT.items()
        if total[f"seconds_per_{name}"] is not None
    ]
    untimed = f" ({total['n_untimed']} without a time)" if total["n_untimed"] else ""
    spent = f"people spent {total['minutes'] or 0:.1f} minutes on {total['n']} answers{untimed}"
    lines = [f"{spent}: {', '.join(parts)}" if parts else spent]
    if bought:
        lines.append(f"all of it over what it bought: {', '.join(bought)}")
    if total["n_released"] and not total["n_kept"]:
        lines.append("no published version holds a pair of it yet: `assay publish RECIPE`")
    return lines


def _describe_next(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [
        f"the next {NEXT_MINUTES:g} minutes pay most here, best first; an answer is worth at most "
        "one label, and less the more is known:"
    ]
    for row in rows:
        lines += [
            f"  {row['category']}, {row['question'].replace('_', ' ')}: {row['tasks']} tasks in "
            f"{row['minutes']:.0f} minutes, worth {row['gain']:.1f} labels "
            f"({row['gain_per_minute']:.2f} a minute)",
            f"    because {row['why']}",
        ]
    return lines


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
        "SELECT batch_id, count_if(outcome = 'gold')::BIGINT AS gold, "
        "count_if(outcome = 'discarded')::BIGINT AS discarded FROM releases GROUP BY batch_id"
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


def _look_ahead(lake: Lake, spec: ReviewSpec) -> list[dict[str, Any]]:
    """The next minutes by category and question, what pays most first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in choose_next(lake, spec, NEXT_MINUTES * 60):
        groups.setdefault((row["category"] or "?", row["question"]), []).append(row)
    rows = []
    for (category, question), members in groups.items():
        gain = sum(row["gain"] for row in members)
        minutes = sum(row["seconds"] for row in members) / 60
        parts = _average_parts(members)
        rows.append(
            {
                "category": category,
                "question": question,
                "tasks": len(members),
                "minutes": minutes,
                "gain": gain,
                "gain_per_minute": gain / minutes if minutes else 0.0,
                "parts": parts,
                "why": _say_why(parts),
            }
        )
    return sorted(rows, key=lambda row: (-row["gain_per_minute"], row["category"], row["question"]))


def _average_parts(members: list[dict[str, Any]]) -> dict[str, float]:
    """What the gain is made of, on average, where it is known: `PARTS`, how far people will agree,
    how new it is, and the seconds that everybody together takes."""
    parts: dict[str, list[float]] = {}
    for row in members:
        why = json.loads(row["why"] or "{}")
        doubts = [float(why[name]) for name in PARTS if name in why]
        values = {name: float(why[name]) for name in PARTS if name in why}
        if doubts and sum(doubts):
            values["agreement"] = row["worth"] * len(doubts) / sum(doubts)
        values |= {"novelty": row["coverage"], "seconds": row["seconds"]}
        for name, value in values.items():
            parts.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in parts.items()}


def _say_why(parts: dict[str, float]) -> str:
    """The greatest doubt, and what speaks for or against asking people of it."""
    doubts = {name: parts[name] for name in PARTS if name in parts}
    if doubts:
        name = max(sorted(doubts), key=lambda part: doubts[part])
        said = [f"{SAYINGS[name]} ({doubts[name]:.2f} of 1)"]
    else:
        said = ["nothing is known of them yet"]
    if "agreement" in parts:
        sure = parts["agreement"] >= LIKELY
        agree = "likely" if sure else "less likely"
        said.append(f"people are {agree} to agree ({parts['agreement']:.2f} of 1)")
    if parts["novelty"] < FRESH:
        said.append(f"much of it is alike (each new one counts {parts['novelty']:.2f})")
    said.append(f"a task takes {parts['seconds']:.0f} s, everybody together")
    return "; ".join(said)
