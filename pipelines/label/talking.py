"""Judges at work in the lake: every answer is kept in `answers`, and judgments follow from those.

A conversation may take several rounds (reasons, then a verdict; an answer that had to be mended).
Each round is wanted minus done over the requests that it waits for; a killed or repeated stage
replays the rounds it has from `answers`, without a call. A judge that learns to read what it could
not reads it from there too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import polars as pl

from annotators.ranking.judge import GroupRanker
from annotators.talk import Conversation, Item, Judge, Row
from engines.chat import ChatResult
from engines.models import open_endpoint
from pipelines.lake.calls import Call, run_calls
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from schemas.ids import make_id

ROWS_A_COMMIT = 10_000


def hold_talks(
    lake: Lake,
    run: Run,
    *,
    stage: str,
    judge: Judge,
    items: Sequence[Item],
    table: str = "judgments",
    limit: int | None = None,
) -> StageSummary:
    """Let a judge judge every item, as far as `limit` calls reach.

    Args:
        table: where the rows of finished conversations go.

    Returns:
        A summary over requests, as `pipelines.lake.calls.run_calls` gives it. `extra["invalid"]`
        counts the rows that are not valid.
    """
    talks = [Conversation(judge, item) for item in items]
    keep = partial(_write, lake, run, stage, table)
    return _hold(lake, run, stage, judge, talks, keep, limit)


def hear_judge(
    lake: Lake, run: Run, *, stage: str, judge: Judge, items: Sequence[Item]
) -> list[Row]:
    """What a judge says of every item, as rows of `judgments` that are not written there. The
    answers are kept, so that asking again costs nothing."""
    talks = [Conversation(judge, item) for item in items]
    _hold(lake, run, stage, judge, talks, lambda _: 0)
    return [row for talk in talks for row in talk.rows or ()]


def _hold(
    lake: Lake,
    run: Run,
    stage: str,
    judge: Judge,
    talks: Sequence[Conversation],
    keep: Callable[[Sequence[Conversation]], int],
    limit: int | None = None,
) -> StageSummary:
    """Hold conversations as far as `limit` reaches, round by round. `keep` is handed all of them
    before the first round, and after each those that went on in it; it returns how many rows are
    not valid."""
    describe_judge(lake, run, stage, judge)
    invalid = keep(talks)
    rounds: list[StageSummary] = []
    while waiting := [talk for talk in talks if talk.rows is None]:
        wanted = [
            Call(request, judge.annotator, talk.item.prompt_id)
            for talk in waiting
            for request in talk.waiting
        ]
        summary = run_calls(
            lake,
            run,
            stage=stage,
            start=lambda: open_endpoint(judge.model, run.tell),
            wanted=wanted,
            done_table="answers",
            to_rows=lambda call, result: {"answers": [make_answer(stage, call, result)]},
            limit=limit,
        )
        rounds.append(summary)
        answers = find_answers(lake, [call.request.request_id for call in wanted])
        for talk in waiting:
            talk.feed(answers)
        invalid += keep(waiting)
        if limit is not None:
            limit -= summary.extra["calls"]
        if summary.extra["remaining"]:
            break
    summary = add_summaries(stage, rounds)
    return replace(summary, extra={**summary.extra, "invalid": invalid})


def describe_judge(lake: Lake, run: Run, stage: str, judge: Judge) -> None:
    """Write down who judges, once; of a ranking also who compares for it."""
    rows = [
        {
            "annotator": one.annotator,
            "snapshot": 0,
            "kind": "llm",
            "specification": json.dumps(one.specification, ensure_ascii=False, sort_keys=True),
        }
        for one in ([judge, judge.judge] if isinstance(judge, GroupRanker) else [judge])
    ]
    lake.append({"annotators": rows}, run=run, stage=stage, message="who judges")


def find_answers(lake: Lake, request_ids: Sequence[str]) -> dict[str, ChatResult]:
    """What the lake has of these requests: their answers, and of those without one the failure
    that was last."""
    wanted = pl.DataFrame({"request_id": request_ids}, schema={"request_id": pl.String}).unique()
    failed = lake.query(
        "SELECT request_id, cause, detail, tries, seconds FROM failures "
        "SEMI JOIN wanted USING (request_id) "
        "QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY attempt DESC) = 1",
        wanted=wanted,
    )
    found = {
        row["request_id"]: ChatResult(
            row["request_id"],
            seconds=row["seconds"] or 0.0,
            tries=row["tries"],
            error=row["cause"],
            error_detail=row["detail"],
        )
        for row in failed.iter_rows(named=True)
    }
    answered = lake.query("FROM answers SEMI JOIN wanted USING (request_id)", wanted=wanted)
    for row in answered.iter_rows(named=True):
        found[row["request_id"]] = ChatResult(
            row["request_id"],
            text=row["text"],
            finish_reason=row["finish_reason"],
            tokens_in=row["tokens_in"],
            tokens_out=row["tokens_out"],
            logprob=row["logprob"],
            first_logprobs=json.loads(row["first_logprobs"]) if row["first_logprobs"] else None,
            seconds=row["seconds"] or 0.0,
            prompt_logprobs=_read_tokens(row["prompt_logprobs"]),
        )
    return found


def make_answer(stage: str, call: Call, result: ChatResult) -> Row:
    """The row of `answers` of a call whose `context` is the annotator that asks."""
    first, prompt = result.first_logprobs, result.prompt_logprobs
    return {
        "request_id": result.request_id,
        "annotator": call.context,
        "stage": stage,
        "prompt_id": call.prompt_id,
        "text": result.text,
        "finish_reason": result.finish_reason,
        "tokens_in": result.tokens_in,
        "tokens_out": result.tokens_out,
        "logprob": result.logprob,
        "first_logprobs": json.dumps(dict(first), ensure_ascii=False) if first else None,
        "prompt_logprobs": json.dumps(prompt) if prompt else None,
        "seconds": result.seconds,
    }


def _read_tokens(text: str | None) -> tuple[tuple[int, float] | None, ...] | None:
    if text is None:
        return None
    return tuple(token and (token[0], token[1]) for token in json.loads(text))


def _set_aside(stage: str, row: Row) -> Row:
    text = json.dumps(row, ensure_ascii=False, default=str)
    return {
        "quarantine_id": make_id("quarantine", stage, row["judgment_id"]),
        "stage": stage,
        "position": row["request_id"],
        "reason": row["reason"],
        "row": text,
    }


def _write(lake: Lake, run: Run, stage: str, table: str, talks: Sequence[Conversation]) -> int:
    """Add the rows of those that are through; returns how many of them are not valid."""
    rows = [row for talk in talks for row in talk.rows or ()]
    if table != "judgments":  # the word of a conversation that raised is no row of this table
        lost = [row for row in rows if "judgment_id" in row]
        rows = [row for row in rows if "judgment_id" not in row]
        if lost:
            aside = [_set_aside(stage, row) for row in lost]
            lake.append({"quarantine": aside}, run=run, stage=stage)
    for start in range(0, len(rows), ROWS_A_COMMIT):
        part = rows[start : start + ROWS_A_COMMIT]
        lake.append({table: part}, run=run, stage=stage, message=f"{len(part)} judgments")
    return sum(not row["valid"] for row in rows)
