"""The first stage of the loop: gold errors fetch what the judges and people see next.

    0  gold        the judges say what they make of gold: what they are worth, before money is spent
    1… retrieval   the pairs most like the gold pairs that the best probe errs on are described and
                   judged; of all that is open people are asked what is worth most, within minutes
    n  rejudging   without people: what the best model does not agree with goes to the judges

The plan of an iteration (its pairs) is committed before any of it is carried out, and all that
follows is worked out from the lake: killed anywhere, the same iteration goes on and comes to the
same result. Retrieval ends when the accuracy on gold no longer rises by its standard error, when
the pool, the iterations or the calls are spent. An iteration that asked people waits for them in
the lake, and for nobody here: the run goes on with what there is, and the loop in a later one.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from pipelines.label.describing import describe_pairs
from pipelines.label.judging import judge_pairs
from pipelines.label.labelling import find_judgments
from pipelines.label.loop.evidence import Evidence
from pipelines.label.loop.first_gold import check_enough, count_open, list_drawn
from pipelines.label.loop.hearing import check_heard, check_reach, check_worth
from pipelines.label.loop.looking import Loop
from pipelines.label.loop.plans import (
    choose_gold,
    choose_people,
    choose_rejudged,
    choose_retrieved,
    list_untouched,
)
from pipelines.label.loop.progress import (
    GOLD,
    REJUDGING,
    RETRIEVAL,
    Row,
    count_cost,
    find_iterations,
    list_iterations,
    write_iteration,
)
from pipelines.label.loop.valuing import spend_calls
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from pipelines.view import View
from schemas.looping import LoopSpec

STAGE = "judge"
LATER = "a later run"
NOT_RISING = "accuracy on gold no longer rises by its standard error"
NO_POOL = "no pair of the pool is left to fetch"
NO_CALLS = "the calls are spent"
NOBODY = "there are no judges and no minutes of people"
NOT_ASKED = "no open pair is left that the minutes of people reach and pay for"
REJUDGED = "what the best model does not agree with was judged again"
NOT_REJUDGED = "nothing was judged again"


def run_loop(lake: Lake, run: Run, view: View, limit: int | None = None) -> StageSummary:
    """Go on with the loop as far as it can be gone now, or as `limit` calls reach.

    `extra["iterations"]` holds its iterations (see
    `pipelines.label.loop.progress.list_iterations`), `waiting` how many pairs it waits for people
    to answer.

    Raises:
        NoGold, TooLittleGold, TooFewCalls: before anything is asked, with how much is needed.
        JudgeNotHeard, annotators.loop.jury.JuryNoBetterThanChance: before anything but gold is
            judged (see `pipelines.label.loop.hearing`).
    """
    started = time.monotonic()
    loop = Loop(lake, run, view)
    parts: list[StageSummary] = []
    waiting = 0
    with lake.lease(f"loop:{loop.loop_id[:16]}", run):
        if run.retry_failed or _is_given_more(loop):
            parts += _try_again(loop, limit)
        while True:
            rows = find_iterations(lake, loop.loop_id)
            last = rows[-1] if rows else None
            if last is None or last["status"] == "done":
                kind = choose_kind(rows, loop.spec, loop.pool, more=loop.reaches_a_pair(rows))
                if kind is None:
                    break
                _plan(loop, rows, kind)
            elif last["status"] == "planned":
                left = None if limit is None else limit - sum(p.extra["calls"] for p in parts)
                name = f"iteration {last['number']}"
                parts.append(_carry_out(loop, rows, name, last["pair_ids"], left))
                if parts[-1].extra["remaining"]:
                    break
                ended = NO_CALLS if parts[-1].extra.get("spent") else last["ended"]
                _conclude_judging(loop, rows, {**last, "ended": ended})
            else:
                waiting = count_open(lake, last["asked"])
                if waiting:
                    run.tell(
                        f"iteration {last['number']} waits for people: {waiting} of "
                        f"{len(last['asked'])} pairs are open. Send them (assay review push), pull "
                        "and release the answers, and run the same command again"
                    )
                    break
                _finish(loop, rows, last)
    summary = add_summaries(STAGE, parts)
    told = list_iterations(lake, loop.loop_id)
    return StageSummary(
        STAGE,
        rows_in=summary.rows_in,
        kept=summary.kept,
        dropped=summary.dropped,
        seconds=time.monotonic() - started,
        extra={**summary.extra, "iterations": told, "waiting": waiting},
    )


def choose_kind(rows: list[Row], spec: LoopSpec, pool: str, *, more: bool = False) -> str | None:
    """What the next iteration is to be; None where all is done for this pool.

    Args:
        rows: the iterations so far, all done.
        pool: the hash of the candidate pairs.
        more: whether the calls that are left reach for another pair. A loop that its calls had cut
            short then goes on: with the rest of gold, with the retrievals that it had no calls
            for, and with what was not judged again.
    """
    if not rows:
        return GOLD
    if more and [row["ended"] for row in rows if row["kind"] == GOLD][-1] == NO_CALLS:
        return GOLD
    mine = [row for row in rows if row["pool"] == pool]
    if mine and mine[-1]["kind"] == REJUDGING and not (more and _was_cut(mine)):
        return None
    ends = {row["ended"] for row in mine if row["kind"] != REJUDGING} - {None}
    ended = bool(ends - {NO_CALLS} if more else ends)
    fetched = sum(row["kind"] == RETRIEVAL and not _had_no_calls(row) for row in mine)
    return REJUDGING if ended or fetched >= spec.iterations else RETRIEVAL


def _had_no_calls(row: Row) -> bool:
    """Whether nobody was asked in it for want of calls."""
    return row["ended"] == NO_CALLS and not (row["pair_ids"] or row["asked"])


def _was_cut(rows: list[Row]) -> bool:
    """Whether the calls ran out in the last of these iterations, a rejudging, or in a retrieval
    right before it: what had no calls is made up for, and once."""
    before = [row for row in rows[-2:-1] if row["kind"] == RETRIEVAL]
    return any(row["ended"] == NO_CALLS for row in [*before, rows[-1]])


def is_rising(rows: list[Row], accuracy: float, n: int) -> bool:
    """Whether this accuracy on `n` gold pairs is above all before by more than its standard
    error."""
    before = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    error = float(np.sqrt(accuracy * (1 - accuracy) / max(n, 1)))
    return not before or accuracy > max(before) + error


def _plan(loop: Loop, rows: list[Row], kind: str) -> None:
    """Fix the pairs of the next iteration and commit them."""
    taken = {key for row in rows for key in row["pair_ids"]}
    chosen: list[str] = []
    ended, told = None, ""
    left = loop.count_left(rows)
    evidence = loop.look() if kind == GOLD else loop.read().evidence
    if kind == GOLD:
        check_enough(loop, evidence)
    if not loop.recipe.judges:
        ended = NOBODY if kind == RETRIEVAL and loop.spec.minutes <= 0 else None
    elif kind == GOLD:
        chosen = [k for k in choose_gold(evidence, loop.recipe.seed) if k not in taken]
        if not rows and left is not None:
            check_reach(left, loop.each, len(chosen))
    elif kind == RETRIEVAL:
        chosen = choose_retrieved(loop.lake, loop.run, loop.read(), taken, loop.spec.neighbours)
        ended = None if chosen else NO_POOL
    else:
        chosen = choose_rejudged(loop.read(), taken, loop.recipe.label.threshold)
        jury = loop.find_jury(rows)
        if jury:
            worth = spend_calls(loop.read().find_odds(chosen), jury)
            ended = NO_CALLS if len(worth) < len(chosen) else None
            chosen = worth["pair_id"].to_list()
            told = (
                f", which is expected to put {worth['gain'].sum():.1f} labels right for "
                f"{len(chosen) * jury.each} calls"
            )
    if left is not None and len(chosen) * loop.each > left:
        chosen, ended = chosen[: left // loop.each], NO_CALLS
    row: dict[str, Any] = {
        "loop_id": loop.loop_id,
        "number": len(rows),
        "name": loop.recipe.name,
        "kind": kind,
        "pool": loop.pool,
        "pair_ids": sorted(chosen),
        "asked": [] if rows else list_drawn(loop),
        "gold": int((~np.isnan(evidence.truth)).sum()),
        "silver": len((taken | set(chosen)) - _list_gold(evidence)),
        "candidates": len(list_untouched(evidence, taken)),
        "ended": ended,
        **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "accuracy_read")),
        **dict.fromkeys(("verdicts", "tokens_in", "tokens_out"), 0),
        **dict.fromkeys(("seconds", "minutes"), 0.0),
    }
    write_iteration(loop.lake, loop.run, row, "planned")
    loop.run.tell(f"iteration {row['number']} ({kind}): {len(chosen)} pairs to judge{told}")


def _list_gold(evidence: Evidence) -> set[str]:
    return set(evidence.pairs.filter(pl.col("truth").is_not_null())["pair_id"])


def _is_given_more(loop: Loop) -> bool:
    """Whether the calls of a loop cut it short, and it has more of them now."""
    rows = find_iterations(loop.lake, loop.loop_id)
    if not rows or rows[-1]["status"] != "done" or not loop.reaches_a_pair(rows):
        return False
    kinds = [choose_kind(rows, loop.spec, loop.pool, more=more) for more in (False, True)]
    return kinds[0] != kinds[1]


def _try_again(loop: Loop, limit: int | None) -> list[StageSummary]:
    """Make the calls of the iterations that are through which they had no calls for, and where that
    is asked for those that failed. What they measured stays as it was; what is read of the pool
    afterwards heeds what was heard now."""
    rows = [row for row in find_iterations(loop.lake, loop.loop_id) if row["status"] != "planned"]
    keys = [key for row in rows for key in row["pair_ids"]]
    return [_carry_out(loop, rows, "the iterations before", keys, limit)] if keys else []


def _carry_out(
    loop: Loop, rows: list[Row], name: str, keys: list[str], limit: int | None
) -> StageSummary:
    """Have these pairs described and judged, as far as `limit` calls reach and those that the loop
    has left after `rows`. Where the loop's are spent nothing remains, and `extra["spent"]` says
    so."""
    view, pairs = loop.view, loop.find_pairs(keys)
    if pairs.is_empty():
        return add_summaries(STAGE, [])
    own = loop.count_left(rows)
    most = min((bound for bound in (limit, own) if bound is not None), default=None)
    texts = view.find_texts(pairs)
    work = loop.lake, loop.run, loop.recipe, view.base, view.prompts, pairs, texts
    described = describe_pairs(*work, most)
    left = None if most is None else most - described.extra.get("calls", 0)
    judged = judge_pairs(*work, left)
    found = add_summaries(STAGE, [described, judged] if described.rows_in else [judged])
    failed = found.dropped.get("call_failed", 0)
    if failed:
        spent = loop.count_left(rows, again=LATER) == 0
        loop.run.tell(
            f"{name}: {failed} of {found.rows_in} calls failed and count as not heard; "
            f"{'raise loop.calls, which are spent, and ' if spent else ''}the same command with "
            "--retry-failed makes them again"
        )
    if found.extra["remaining"] and own is not None and found.extra["calls"] >= own:
        return replace(found, extra={**found.extra, "remaining": 0, "spent": True})
    return found


def _conclude_judging(loop: Loop, rows: list[Row], row: Row) -> None:
    """After the judges have spoken: check them, ask people, or finish."""
    short = row["ended"] == NO_CALLS
    if row["kind"] == GOLD:
        golden = [key for known in rows if known["kind"] == GOLD for key in known["pair_ids"]]
        view, pairs = loop.view, loop.find_pairs(golden)
        if view.judges and not (short and loop.reaches_a_pair(rows)):  # else the rest comes first
            said = find_judgments(loop.lake, loop.recipe, view.judges, pairs, view.variants)
            check_heard(view.judges, said, short=short)
            check_worth(loop.run, view.judges, loop.look())
    elif row["kind"] == RETRIEVAL and loop.spec.minutes > 0:
        state, jury = loop.read(), loop.find_jury(rows)
        taken = {key for known in rows for key in known["pair_ids"]}
        left = choose_rejudged(state, taken, loop.recipe.label.threshold) if jury else []
        reviews = choose_people(loop.lake, loop.recipe, state, jury, left)
        if reviews:
            asked = sorted(review["pair_id"] for review in reviews)
            write_iteration(loop.lake, loop.run, row, "waiting", reviews, asked=asked)
            return
        if not loop.recipe.judges:
            row = {**row, "ended": NOT_ASKED}
    _finish(loop, rows, row)


def _finish(loop: Loop, rows: list[Row], row: Row) -> None:
    """Measure what an iteration has come to, and whether there is to be another."""
    state = loop.read()
    found = state.measure()
    names = [judge.annotator for judge in loop.view.judges]
    cost = count_cost(loop.lake, loop.view.pairs, row, names, loop.writer)
    ended = row["ended"]
    if row["kind"] == RETRIEVAL and ended is None:
        rising = is_rising(rows[:-1], found["accuracy"], state.count_gold())
        ended = None if rising else NOT_RISING
    elif row["kind"] == REJUDGING:
        ended = ended or (REJUDGED if row["pair_ids"] else NOT_REJUDGED)
    gold = int((~np.isnan(state.evidence.truth)).sum())
    write_iteration(loop.lake, loop.run, row, "done", **found, **cost, gold=gold, ended=ended)
    told = (
        f"iteration {row['number']} ({row['kind']}): the best probe is right on "
        f"{found['accuracy']:.1%} of gold, all voices together on {found['accuracy_read']:.1%}"
    )
    loop.run.tell(f"{told}; {ended}" if ended else told)
