"""The implicit reward as part of the stage `signals`: two models read what a third has written.

Every response goes to teacher and reference as the whole of a conversation, and every prompt two or
three times without it, to find where the response begins. What the servers say of each token is
kept in `answers`, so that it is paid for once, whatever lambda the rewards are read with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import polars as pl

from annotators.signals.implicit_reward import (
    make_implicit_row,
    make_logprob_requests,
    name_implicit,
)
from annotators.signals.rows import KIND
from annotators.talk import Item, Row
from engines.models import ResolvedModel, open_endpoint, resolve_model
from pipelines.label.talking import find_answers, make_answer
from pipelines.lake.calls import Call, run_calls
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from schemas.opinions import SignalSpec
from schemas.recipe import Recipe

STAGE = "signals"
ITEMS_A_COMMIT = 200  # the answers of so many are read at once: a row for each of their tokens

SAID = """
SELECT response_a FROM judgments
WHERE annotator = ? AND response_b IS NULL AND criterion IS NOT DISTINCT FROM ? AND (valid OR ?)
"""


def find_unscored(
    lake: Lake,
    annotator: str,
    responses: pl.DataFrame,
    criterion: str | None = None,
    *,
    or_invalid: bool = False,
) -> pl.DataFrame:
    """Those of `responses` (prompt_id, response_id, ...) that `annotator` has said nothing of, or
    nothing valid, in the order of their ids."""
    return lake.query(
        f"SELECT wanted.* FROM wanted ANTI JOIN ({SAID}) AS said "
        "ON said.response_a = wanted.response_id ORDER BY prompt_id, response_id",
        [annotator, criterion, not or_invalid],
        wanted=responses,
    )


def count_invalid(
    lake: Lake, annotator: str, responses: pl.DataFrame, criterion: str | None = None
) -> int:
    """How many of `responses` have no valid score by `annotator`."""
    ids = responses.select("prompt_id", "response_id")
    return len(find_unscored(lake, annotator, ids, criterion, or_invalid=True))


def score_implicit(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    spec: SignalSpec,
    prompts: pl.DataFrame,
    responses: pl.DataFrame,
    limit: int | None = None,
) -> StageSummary:
    """Score the responses that have no valid reward, as far as `limit` calls reach.

    Args:
        prompts: prompt_id, messages.
        responses: prompt_id, response_id, content.

    Returns:
        Counts of responses; `extra` has those of the calls too, as `run_calls` gives them.

    Raises:
        engines.chat.ServerUnreachable: a model's server is down; what was answered is kept.
    """
    assert spec.teacher is not None and spec.reference is not None
    started = time.monotonic()
    models = [resolve_model(recipe.models[name]) for name in (spec.teacher, spec.reference)]
    annotator = name_implicit(*models, scale=spec.scale)
    todo = find_unscored(lake, annotator, responses, or_invalid=True)
    items = _make_items(prompts, todo)
    parts = []
    for model in models:
        part = _ask(lake, run, annotator, model, items, limit)
        limit = None if limit is None else limit - part.extra["calls"]
        parts.append(part)
    calls = add_summaries(STAGE, parts)
    who = {
        "annotator": annotator,
        "snapshot": 0,
        "kind": KIND,
        "specification": json.dumps(
            {**spec.describe(), "teacher": models[0].policy, "reference": models[1].policy},
            sort_keys=True,
        ),
    }
    made = waiting = 0
    for rows, without in _read(lake, annotator, spec.scale, models, items):
        waiting += without
        tables = {"annotators": [who], "judgments": rows}
        found = lake.append(tables, run=run, stage=STAGE, message=f"{len(rows)} rewards")
        made += found.inserted["judgments"]
    scored = len(responses) - waiting
    invalid = count_invalid(lake, annotator, responses) - waiting
    return StageSummary(
        STAGE,
        rows_in=scored,
        kept=scored,
        seconds=time.monotonic() - started,
        extra={**calls.extra, "made": made, "invalid": invalid},
    )


def _make_items(prompts: pl.DataFrame, responses: pl.DataFrame) -> list[Item]:
    frame = responses.join(
        prompts.select("prompt_id", "messages"), on="prompt_id", maintain_order="left"
    )
    return [
        Item(row["prompt_id"], row["messages"], (row["response_id"],), (row["content"],))
        for row in frame.iter_rows(named=True)
    ]


def _ask(
    lake: Lake,
    run: Run,
    annotator: str,
    model: ResolvedModel,
    items: list[Item],
    limit: int | None,
) -> StageSummary:
    wanted = [
        Call(request, annotator, item.prompt_id)
        for item in items
        for request in make_logprob_requests(model, item.messages, item.contents[0])
    ]
    return run_calls(
        lake,
        run,
        stage=STAGE,
        start=lambda: open_endpoint(model, run.tell),
        wanted=wanted,
        done_table="answers",
        to_rows=lambda call, result: {"answers": [make_answer(STAGE, call, result)]},
        limit=limit,
    )


def _read(
    lake: Lake, annotator: str, scale: float, models: list[ResolvedModel], items: list[Item]
) -> Iterator[tuple[list[Row], int]]:
    """Rows of the items whose calls are all through, some at a time, and how many are not."""
    counted = set(
        lake.query("SELECT DISTINCT prompt_id FROM judgments WHERE annotator = ?", [annotator])[
            "prompt_id"
        ]
    )
    for start in range(0, len(items), ITEMS_A_COMMIT):
        part = items[start : start + ITEMS_A_COMMIT]
        asked = [
            [
                [one.request_id for one in make_logprob_requests(m, item.messages, *item.contents)]
                for m in models
            ]
            for item in part
        ]
        answers = find_answers(lake, [key for both in asked for trio in both for key in trio])
        rows = []
        for item, both in zip(part, asked, strict=True):
            if not all(key in answers for trio in both for key in trio):
                continue
            heard = [[answers[key] for key in trio] for trio in both]
            first = item.prompt_id not in counted
            counted.add(item.prompt_id)
            rows.append(make_implicit_row(item, *models, *heard, scale=scale, count_openings=first))
        yield rows, len(part) - len(rows)
