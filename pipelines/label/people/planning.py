"""What the next push sends: what came back to the queue, then a new batch of what is worth most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipelines.label.people.choosing import Candidate, choose
from pipelines.label.people.costs import expect_seconds
from pipelines.label.people.golds import choose_gold, name_target
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import LATEST, advance, find_reviews
from pipelines.label.people.targets import choose_left, shuffle_responses
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from schemas.ids import make_id, make_seed
from schemas.recipe import ReviewSpec

UNKNOWN_WORTH = 0.5  # of a review that an older lake queued without a gain


@dataclass(frozen=True)
class Plan:
    """What a push is to send: the new row of `batches`, if any; rows of `reviews`, each with its
    `project` (a title, None where nothing is shown); and how many stay in the queue."""

    batch: dict[str, Any] | None = None
    reviews: list[dict[str, Any]] = field(default_factory=list)
    waiting: int = 0


def plan_returns(lake: Lake, spec: ReviewSpec, desk: str) -> list[dict[str, Any]]:
    """The rows for what was queued again in batches of this desk: another round of an item, or its
    adjudication. With `per_person` they go to people who have not seen the item."""
    queued = find_reviews(lake, "status = 'queued' AND batch_id IS NOT NULL")
    titles = dict(
        lake.query("SELECT batch_id, title FROM batches WHERE desk = ?", [desk]).iter_rows()
    )
    seen = _find_assigned(lake)
    people = name_people(spec)
    rows = []
    for row in queued.iter_rows(named=True):
        if row["batch_id"] not in titles:
            continue
        title = titles[row["batch_id"]]
        free = [p for p in people if p not in seen.get((row["batch_id"], row["pair_id"]), ())]
        if not people or len(free) < row["overlap"]:
            rows.append({**advance(row, "planned", desk=desk), "project": name_project(title, row)})
        else:
            rows += _assign(row, _deal(free, make_seed(row["review_id"]), row["overlap"]), title,
                            desk, spec)  # fmt: skip
    return rows


def plan_batch(
    lake: Lake,
    run: Run,
    spec: ReviewSpec,
    desk: str,
    title: str,
    question: str,
    returns: Sequence[dict[str, Any]] = (),
) -> Plan:
    """`returns` and a new batch that fills what they, and the work of this title that still waits
    at the desk, leave of `spec.minutes`: a push that is run twice sends nothing the second time.

    The order is that of worth, hidden gold strewn among it: people work from the top, and what
    is left at the end is what matters least.
    """
    budget = None
    if spec.minutes is not None:
        spent = sum((r["expected_seconds"] or 0.0) * r["overlap"] for r in returns if r["project"])
        left = _sum_open(lake, spec, desk, title, question)
        budget = max(0.0, spec.minutes * 60 * (1 - spec.gold_rate) - spent - left)
    queued, chosen = _choose_queued(lake, spec, question, budget)
    if not chosen:
        if budget is not None and left and len(queued):
            run.tell(
                f"work of {left / 60:.0f} minutes still waits at the desk, and no task fits into "
                f"what that leaves of {spec.minutes:g}: nothing new is planned. Have it answered "
                "and pull, or give more minutes"
            )
        return Plan(None, list(returns), len(queued))
    by_id = {row["review_id"]: row for row in queued.drop("category", "cluster_id").to_dicts()}
    batch_id = make_id("batch", desk, title, question, sorted(c.key for c, _ in chosen))
    work = [
        advance(
            by_id[candidate.key],
            "planned",
            batch_id=batch_id,
            desk=desk,
            overlap=spec.overlap,
            gain=candidate.worth * coverage,
            why=json.dumps({**json.loads(by_id[candidate.key]["why"] or "{}"),
                            "coverage": coverage}, sort_keys=True),
        )
        for candidate, coverage in chosen
    ]  # fmt: skip
    hidden = _hide_gold(lake, run, spec, work, batch_id, question)
    items = strew(work, hidden)
    rows = _share_out(items, title, desk, spec)
    seconds = sum(row["expected_seconds"] * row["overlap"] for row in rows if row["project"])
    batch = {
        "batch_id": batch_id,
        "desk": desk,
        "title": title,
        "question": question,
        "overlap": spec.overlap,
        "gold_rate": spec.gold_rate,
        "minutes": spec.minutes,
        "expected_minutes": seconds / 60,
        "reviews": len(work),
        "gold": len(hidden),
    }
    return Plan(batch, [*returns, *rows], len(queued) - len(work))


def _sum_open(lake: Lake, spec: ReviewSpec, desk: str, title: str, question: str) -> float:
    """The seconds of people's work that the batches of this title still wait for, hidden gold not
    counted."""
    open_ = lake.query(
        f"SELECT * FROM ({LATEST}) JOIN (SELECT batch_id FROM batches WHERE desk = ? "
        "AND title = ? AND question = ?) USING (batch_id) "
        "WHERE status = 'pushed' AND project_id IS NOT NULL AND role <> 'gold'",
        [desk, title, question],
    )
    people = list(name_people(spec))
    if people:
        open_ = open_.filter(pl.col("assignee").is_in(people).fill_null(True))
    counted = find_answers(lake).filter(pl.col("set_aside").is_null()).unique("annotation")
    given = counted.group_by("review_id").agg(given=pl.len())
    lacks = (pl.col("overlap") - pl.col("given").fill_null(0)).clip(0)
    seconds = open_.join(given, on="review_id", how="left").select(
        (lacks * pl.col("expected_seconds").fill_null(0.0)).sum()
    )
    return float(seconds.item())


def choose_next(lake: Lake, spec: ReviewSpec, seconds: float) -> list[dict[str, Any]]:
    """What pushes would send first to fill `seconds`, of whatever question: rows of `reviews` with
    their category, the `worth` before `coverage` and the gain with it, and the `seconds` of all
    answers wanted."""
    queued, chosen = _choose_queued(lake, spec, None, seconds)
    by_id = {row["review_id"]: row for row in queued.to_dicts()}
    return [
        {**by_id[c.key], "worth": c.worth, "coverage": coverage, "gain": c.worth * coverage,
         "seconds": c.seconds}
        for c, coverage in chosen
    ]  # fmt: skip


def name_people(spec: ReviewSpec) -> dict[str, str]:
    """The people with projects of their own: what the lake calls each -> their email."""
    if not spec.per_person:
        return {}
    return {f"assignee-{make_id('assignee', email)[:16]}": email for email in spec.people}


def name_project(title: str, review: dict[str, Any], person: str | None = None) -> str:
    """The title of the project in which a review is shown."""
    parts = [title]
    if review["question"] != "preference":
        parts.append(review["question"].replace("_", " "))
    if review["role"] == "adjudication":
        parts.append("adjudication")
    return " ".join([*parts, f"for {person}"] if person else parts)


def _choose_queued(
    lake: Lake, spec: ReviewSpec, question: str | None, seconds: float | None
) -> tuple[pl.DataFrame, list[tuple[Candidate, float]]]:
    """What waits to be asked for the first time (one question, or any), priced; and what of it
    fills `seconds`."""
    asked = f" AND question = '{question}'" if question else ""
    waiting = find_reviews(lake, f"status = 'queued' AND batch_id IS NULL{asked}")
    queued = _price(lake, waiting)
    candidates = [
        Candidate(
            row["review_id"],
            _read_worth(row),
            row["expected_seconds"] * spec.overlap,
            row["category"],
            row["cluster_id"],
        )
        for row in queued.iter_rows(named=True)
    ]
    return queued, choose(candidates, seconds=seconds)


def _price(lake: Lake, queued: pl.DataFrame) -> pl.DataFrame:
    """With what an answer is expected to take now, and the places that make a batch varied."""
    asked = queued.select(
        "question",
        "prompt_id",
        responses=pl.coalesce("responses", pl.concat_list("response_a", "response_b")),
    )
    places = lake.query(
        "SELECT review_id, category, cluster_id FROM queued LEFT JOIN prompts USING (prompt_id) "
        "LEFT JOIN splits USING (prompt_id)",
        queued=queued.select("review_id", "prompt_id"),
    )
    return queued.with_columns(expect_seconds(lake, asked)).join(
        places, on="review_id", maintain_order="left"
    )


def _read_worth(review: dict[str, Any]) -> float:
    """What an answer is worth before coverage, which a new batch counts anew."""
    worth = json.loads(review["why"] or "{}").get("worth", review["gain"])
    return UNKNOWN_WORTH if worth is None else float(worth)


def _hide_gold(
    lake: Lake,
    run: Run,
    spec: ReviewSpec,
    work: list[dict[str, Any]],
    batch_id: str,
    question: str,
) -> list[dict[str, Any]]:
    """Rows of role `gold`: so many that they are the share `gold_rate` of all tasks."""
    wanted = round(spec.gold_rate / (1 - spec.gold_rate) * len(work))
    if not wanted:
        return []
    avoid = {name_target(row) for row in work}
    known = choose_gold(lake, question, wanted, avoid=avoid, seed=batch_id)
    if len(known) < wanted:
        run.tell(
            f"{wanted} tasks of hidden gold are wanted and the lake knows {len(known)} answers to "
            f"{question}: import recorded gold, or release a batch, to have more"
        )
    seconds = sum(row["expected_seconds"] for row in work) / len(work)
    rows = []
    about = ("pair_id", "prompt_id", "response_a", "response_b")
    for item in known:
        review_id = make_id("review", item["pair_id"], question, "gold", batch_id)
        blank = dict.fromkeys(("reason", "project_id", "task_id", "assignee", "gain"))
        shuffled = item["responses"] and shuffle_responses(review_id, item["responses"])
        rows.append(
            {
                **blank,
                "review_id": review_id,
                "status": "planned",
                **{key: item[key] for key in about},
                "responses": shuffled,
                "left": choose_left(review_id) if question == "preference" else None,
                "desk": work[0]["desk"],
                "question": question,
                "role": "gold",
                "batch_id": batch_id,
                "round": 0,
                "overlap": spec.overlap,
                "why": json.dumps({"truth": item["truth"]}, sort_keys=True),
                "expected_seconds": seconds,
            }
        )
    return rows


def strew(work: list[dict[str, Any]], gold: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gold at places by hash among the work, which keeps its order."""
    at: dict[str, float] = {row["review_id"]: place / len(work) for place, row in enumerate(work)}
    at |= {row["review_id"]: make_seed("place", row["review_id"]) / 2**31 for row in gold}
    return sorted([*work, *gold], key=lambda row: (at[row["review_id"]], row["review_id"]))


def _share_out(
    items: list[dict[str, Any]], title: str, desk: str, spec: ReviewSpec
) -> list[dict[str, Any]]:
    """The rows with their projects: one for everybody, or with `per_person` each item in those of
    as many people as are wanted, in turn. An item's own row is then shown nowhere."""
    people = list(name_people(spec))
    if not people:
        return [{**row, "project": name_project(title, row)} for row in items]
    rows = []
    for place, row in enumerate(items):
        rows += _assign(row, _deal(people, place, row["overlap"]), title, desk, spec)
    return rows


def _deal(people: list[str], place: int, overlap: int) -> list[str]:
    return [people[(place + step) % len(people)] for step in range(min(overlap, len(people)))]


def _assign(
    row: dict[str, Any], assignees: list[str], title: str, desk: str, spec: ReviewSpec
) -> list[dict[str, Any]]:
    """An item's own row, and one for each person it is kept for."""
    emails = name_people(spec)
    rows = [{**advance(row, "planned", desk=desk), "project": None}]
    for assignee in assignees:
        review_id = make_id("review", row["review_id"], assignee)
        mine = {
            "review_id": review_id,
            "assignee": assignee,
            "overlap": 1,
            "left": choose_left(review_id) if row["left"] else None,
            "project": name_project(title, row, emails[assignee]),
        }
        rows.append({**rows[0], **mine})
    return rows


def _find_assigned(lake: Lake) -> dict[tuple[str, str], set[str]]:
    """Who has a task of each item, by batch and pair."""
    found = lake.query(
        "SELECT batch_id, pair_id, list(DISTINCT assignee) AS people FROM reviews "
        "WHERE assignee IS NOT NULL GROUP BY batch_id, pair_id"
    )
    return {(batch, pair): set(people) for batch, pair, people in found.iter_rows()}
