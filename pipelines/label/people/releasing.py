"""Release: what people said of a batch becomes gold, because somebody says so by name.

Before that, their answers label nothing. A release holds the batch against its gates, writes what
became of each item (`releases`) and one judgment a pair by the annotator `people:BATCH`, which is
gold. Items that still wait for answers or for a third opinion stay for a later release.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

import polars as pl

from annotators.people.gates import BARS, Bars, Gate, check_gates
from annotators.people.spans import Span
from pipelines.label.people.assessing import (
    assess_batches,
    count_needed,
    find_batched,
    find_items,
    judge_items,
    list_annotations,
    list_truths,
)
from pipelines.label.people.counting import PEOPLE
from pipelines.label.people.markings import merge_marks
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary
from schemas.errors import AssayError
from schemas.ids import make_id, make_judgment_id
from schemas.recipe import ReviewSpec

STAGE = "review_release"
UNDECIDED = "people could not decide"
Row = dict[str, Any]


class NotReleased(AssayError):
    """A batch that cannot be released: no approver, no such batch, or a gate that it fails."""


def release_batch(
    lake: Lake, run: Run, batch_id: str, approved_by: str, spec: ReviewSpec | None = None
) -> StageSummary:
    """Release what is decided of a batch. Released again, it adds what has been decided since.

    An item with fewer answers than were wanted is decided by those it has where they are
    `spec.min_answers`; else it waits.

    Args:
        batch_id: or the beginning of one, where only one begins so.
        approved_by: who vouches for it; it stands in the lake.

    Returns:
        `rows_in` counts the items settled now: kept as gold, or dropped as `undecided`;
        `extra["waiting"]` those that lack answers or a third opinion.

    Raises:
        NotReleased: see there; what was measured is in the message.
    """
    started = time.monotonic()
    spec = spec or ReviewSpec()
    if not approved_by.strip():
        raise NotReleased("a release needs the name of whoever approves it (--approved-by NAME)")
    batch = find_batch(lake, batch_id)
    with lake.lease(STAGE, run):
        assess_batches(lake, run, spec, [batch["batch_id"]], releasing=True)
        answers = find_batched(lake, [batch["batch_id"]])
        gates = measure_gates(batch, answers, spec)
        failed = [gate.sentence for gate in gates if not gate.passed]
        if failed:
            raise NotReleased(
                f"batch {batch['batch_id']} is not released: {'; '.join(failed)}. Have more of it "
                "answered or adjudicated, or change what review.min_alpha and "
                "review.min_gold_accuracy ask for"
            )
        items, waiting = _find_settled(lake, answers, batch["batch_id"], spec.min_answers)
        measured = json.dumps(
            {
                "gates": [asdict(gate) for gate in gates],
                "set_aside": _list_set_aside(answers),
            },
            sort_keys=True,
        )
        releases, judgments = _conclude(items, answers, batch, approved_by.strip(), measured)
        discarded = sum(row["outcome"] == "discarded" for row in releases)
        summary = StageSummary(
            STAGE,
            rows_in=len(releases),
            kept=len(releases) - discarded,
            dropped={"undecided": discarded} if discarded else {},
            seconds=time.monotonic() - started,
            extra={
                "batch": batch["batch_id"],
                "approved_by": approved_by.strip(),
                "gold": len(judgments),
                "waiting": waiting,
                "gates": {gate.name: gate.value for gate in gates},
            },
        )
        if releases:
            record_run(lake, run, summary, {"releases": releases, "judgments": judgments})
    return summary


def find_batch(lake: Lake, batch_id: str) -> Row:
    """The batch of that id, or the only one whose id begins so. Raises NotReleased."""
    found = lake.query(
        "SELECT * FROM batches WHERE starts_with(batch_id, ?) ORDER BY created_at", [batch_id]
    ).to_dicts()
    if len(found) == 1:
        return found[0]
    known = lake.query("SELECT batch_id FROM batches ORDER BY created_at")["batch_id"].to_list()
    raise NotReleased(
        f"{batch_id!r} names {len(found)} batches of this lake; it has "
        f"{', '.join(known) or 'none: push one first (assay review push)'}"
    )


def measure_gates(batch: Row, answers: pl.DataFrame, spec: ReviewSpec) -> list[Gate]:
    """The gates of a batch. What it was not made to show is not asked of it: agreement, of one
    person an item; accuracy, without hidden gold. Half of the hidden gold must have a label where
    that is less than the bar: it goes out once, and some of it nobody can decide."""
    said = list_annotations(answers).filter(pl.col("set_aside").is_null())
    work = said.filter(pl.col("role") != "adjudication")
    if work.is_empty():
        return []
    bars = Bars(
        overlap=batch["overlap"],
        overlap_share=0.0,  # an item that lacks answers waits, and keeps no other back
        alpha=spec.min_alpha,
        gold_labels=min(BARS.gold_labels, math.ceil(batch["gold"] * batch["overlap"] / 2)),
        gold_accuracy=spec.min_gold_accuracy,
    )
    (report,) = check_gates(work, list_truths(said), bars, labels=None)
    asked = {"overlap"}
    if batch["overlap"] > 1:
        asked.add("alpha")
    if batch["gold"]:
        asked |= {"gold_labels", "gold_accuracy"}
    return [gate for gate in report.gates if gate.name in asked]


def _find_settled(
    lake: Lake, answers: pl.DataFrame, batch_id: str, enough: int | None
) -> tuple[list[tuple[Row, list[Row]]], int]:
    """The items with all their answers (or `enough` of them) and a word that stands, each with what
    was said of it; and how many others wait."""
    items = find_items(lake, answers, [batch_id]).with_columns(needed=count_needed(enough))
    done = set(
        lake.query("SELECT review_id FROM releases WHERE batch_id = ?", [batch_id])["review_id"]
    )
    verdicts: dict[str, list[Row]] = {}
    for row in judge_items(answers).iter_rows(named=True):
        verdicts.setdefault(row["pair_id"], []).append(row)
    settled, waiting = [], 0
    for item in items.filter(pl.col("role") == "work").iter_rows(named=True):
        if item["review_id"] in done:
            continue
        said = verdicts.get(item["pair_id"], [])
        enough = item["counted"] >= item["needed"] or any(v["by"] == "adjudication" for v in said)
        if said and enough and all(v["agreed"] for v in said):
            settled.append((item, said))
        else:
            waiting += 1
    return settled, waiting


def _conclude(
    items: list[tuple[Row, list[Row]]],
    answers: pl.DataFrame,
    batch: Row,
    approved_by: str,
    measured: str,
) -> tuple[list[Row], list[Row]]:
    """Rows of `releases` and of `judgments`."""
    releases, judgments = [], []
    merged = merge_marks(answers.filter(pl.col("set_aside").is_null()))
    for item, said in items:
        known = [verdict for verdict in said if verdict["value"] is not None]
        single = known[0] if len(known) == 1 and item["response_b"] is not None else None
        p_a = _merge(single) if single and single["criterion"] is None else None
        releases.append(
            {
                "batch_id": batch["batch_id"],
                "review_id": item["review_id"],
                "pair_id": item["pair_id"],
                "outcome": "gold" if known else "discarded",
                "reason": None if known else UNDECIDED,
                "p_a": p_a,
                "tie": p_a == 0.5,
                "agreement": min(verdict["share"] for verdict in said),
                "annotators": sorted({name for verdict in said for name in verdict["voters"]}),
                "approved_by": approved_by,
                "gates": measured,
            }
        )
        spans = merged.get((batch["batch_id"], item["pair_id"], said[0]["by"]))
        judgments += [_make_gold(verdict, item, batch, spans) for verdict in known]
    return releases, judgments


def _merge(verdict: Row) -> float:
    """p_a of what was agreed: a tie is one half, else the mean of those who decided, which leans
    to the majority's side."""
    return 0.5 if verdict["value"] == 0.5 else float(verdict["mean"])


def _make_gold(verdict: Row, item: Row, batch: Row, spans: list[Span] | None) -> Row:
    annotator = f"{PEOPLE}{batch['batch_id']}"
    is_pair = verdict["criterion"] is None
    target = make_id("target", verdict["response_a"], verdict["response_b"])
    detail = {
        "batch": batch["batch_id"],
        "review_id": item["review_id"],
        "by": verdict["by"],
        "people": verdict["voters"],
        "strength": verdict["strength"],
        **({} if spans is None else {"spans": spans}),
    }
    return {
        "judgment_id": make_judgment_id(
            annotator, target, criterion=verdict["criterion"], order=None, sample_index=0,
            origin=item["review_id"],
        ),
        "annotator": annotator,
        "kind": "human",
        **{name: verdict[name] for name in ("prompt_id", "response_a", "response_b", "criterion")},
        "p_a": _merge(verdict) if is_pair else None,
        "score": None if is_pair else verdict["value"],
        "tie": is_pair and verdict["value"] == 0.5,
        "valid": True,
        "sample_index": 0,
        "detail": json.dumps(detail, sort_keys=True),
        "gold": True,
    }  # fmt: skip


def _list_set_aside(answers: pl.DataFrame) -> dict[str, list[str]]:
    """The annotations that did not count, by rule."""
    rows = answers.drop_nulls("set_aside").unique("annotation").sort("annotation")
    found: dict[str, list[str]] = {}
    for rule, annotation in rows.select("set_aside", "annotation").iter_rows():
        found.setdefault(rule, []).append(annotation)
    return found


def count_releases(lake: Lake) -> Counter[str]:
    """The items released so far, by outcome."""
    rows = lake.query("SELECT outcome, count(*) FROM releases GROUP BY outcome ORDER BY outcome")
    return Counter(dict(rows.iter_rows()))
