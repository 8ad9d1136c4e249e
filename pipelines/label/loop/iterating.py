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

from annotators.loop.stacking import LEAST_GOLD, TooLittleGold
from pipelines.label.describing import describe_pairs, load_writer
from pipelines.label.judging import judge_pairs
from pipelines.label.labelling import find_judgments
from pipelines.label.loop.charging import count_calls, count_spent
from pipelines.label.loop.evidence import Evidence, find_drawn, gather_evidence
from pipelines.label.loop.hearing import check_heard, check_worth
from pipelines.label.loop.plans import (
    State,
    choose_gold,
    choose_people,
    choose_random,
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
    name_loop,
    write_iteration,
)
from pipelines.label.loop.recycling import check_gold, read_evidence
from pipelines.label.loop.valuing import Jury, measure_jury, spend_calls
from pipelines.label.sides import size_sides
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from pipelines.view import View
from schemas.ids import make_id
from schemas.looping import LoopSpec

STAGE = "judge"
SAID = """
SELECT (SELECT count(*) FROM judgments), (SELECT count(*) FROM imports),
    (SELECT count(*) FROM reviews)
"""
NOT_RISING = "accuracy on gold no longer rises by its standard error"
NO_POOL = "no pair of the pool is left to fetch"
NO_CALLS = "the calls are spent"
NOBODY = "there are no judges and no minutes of people"
NOT_ASKED = "no open pair is left that the minutes of people reach and pay for"
REJUDGED = "what the best model does not agree with was judged again"
NOT_REJUDGED = "nothing was judged again"


class Loop:
    """A recipe's loop over a lake, as one run sees it."""

    def __init__(self, lake: Lake, run: Run, view: View) -> None:
        self.lake, self.run, self.view = lake, run, view
        self.recipe = view.recipe
        self.spec = view.recipe.loop or LoopSpec()
        self.loop_id = name_loop(view.recipe)
        self.pool = make_id("pool", sorted(view.pairs["pair_id"]))
        writer = load_writer(view.recipe, view.base)
        self.writer = writer.annotator if writer else None
        self.each = sum(map(count_calls, view.judges)) + (writer is not None)  # calls a pair
        self._state: State | None = None
        self._seen: tuple[tuple[int, ...], Evidence] | None = None

    def count_left(self, rows: list[Row]) -> int | None:
        """How many calls of `loop.calls` are left after these iterations; None: no bound."""
        if self.spec.calls is None:
            return None
        names = [judge.annotator for judge in self.view.judges]
        asked = [*names, self.writer] if self.writer else names
        return max(0, self.spec.calls - count_spent(self.lake, asked, self.view.pairs, rows))

    def find_jury(self, rows: list[Row]) -> Jury | None:
        """The judges and the calls that they have left after these iterations; None where there
        are none, or nobody counts."""
        left = self.count_left(rows)
        if left is None or not self.view.judges:
            return None
        names = {judge.annotator for judge in self.view.judges}
        return measure_jury(self.read().found.reading, names, left, self.each)

    def find_pairs(self, keys: list[str]) -> pl.DataFrame:
        """The candidate pairs of these ids."""
        mine = pl.Series(keys, dtype=pl.String).implode()
        return self.view.pairs.filter(pl.col("pair_id").is_in(mine))

    def look(self) -> Evidence:
        """What speaks of the pool now; looked for anew where an opinion, an edition or
        a review has come (none ever goes)."""
        told = self.lake.query(SAID).row(0)
        if self._seen is None or self._seen[0] != told:
            self._seen = told, self._look()
        return self._seen[1]

    def _look(self) -> Evidence:
        view = self.view

        def find(pairs: pl.DataFrame) -> pl.DataFrame:
            return find_judgments(self.lake, self.recipe, view.judges, pairs, view.variants)

        view.forget_texts()
        sizes, drawn = size_sides(self.lake, view.pairs), find_drawn(self.lake)
        return gather_evidence(find, view.pairs, view.prompts, sizes, drawn)

    def read(self) -> State:
        """The pool as it reads now."""
        evidence = self.look()
        state = self._state
        if state is None or not state.evidence.says_same(evidence):
            found = read_evidence(self.lake, self.run, self.recipe, evidence)
            state = self._state = State(evidence, *found)
        return state


def run_loop(lake: Lake, run: Run, view: View, limit: int | None = None) -> StageSummary:
    """Go on with the loop as far as it can be gone now, or as `limit` calls reach.

    `extra["iterations"]` holds its iterations (see
    `pipelines.label.loop.progress.list_iterations`), `waiting` how many pairs it waits for people
    to answer.

    Raises:
        NoGold, TooLittleGold: before anything is asked, with how much is needed.
        JudgeNotHeard, annotators.loop.jury.JuryNoBetterThanChance: before anything but gold is
            judged (see `pipelines.label.loop.hearing`).
    """
    started = time.monotonic()
    loop = Loop(lake, run, view)
    parts: list[StageSummary] = []
    waiting = 0
    with lake.lease(f"loop:{loop.loop_id[:16]}", run):
        if run.retry_failed:
            parts += _try_again(loop, limit)
        while True:
            rows = find_iterations(lake, loop.loop_id)
            last = rows[-1] if rows else None
            if last is None or last["status"] == "done":
                kind = choose_kind(rows, loop.spec, loop.pool)
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


def choose_kind(rows: list[Row], spec: LoopSpec, pool: str) -> str | None:
    """What the next iteration is to be; None where all is done for this pool.

    Args:
        rows: the iterations so far, all done.
        pool: the hash of the candidate pairs.
    """
    if not rows:
        return GOLD
    mine = [row for row in rows if row["pool"] == pool]
    if any(row["kind"] == REJUDGING for row in mine):
        return None
    fetched = sum(row["kind"] == RETRIEVAL for row in mine)
    ended = bool(mine) and mine[-1]["ended"] is not None
    return REJUDGING if ended or fetched >= spec.iterations else RETRIEVAL


def is_rising(rows: list[Row], accuracy: float, n: int) -> bool:
    """Whether this accuracy on `n` gold pairs is above all before by more than its standard
    error."""
    before = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    error = float(np.sqrt(accuracy * (1 - accuracy) / max(n, 1)))
    return not before or accuracy > max(before) + error


def count_open(lake: Lake, asked: list[str]) -> int:
    """How many of these pairs people have still to settle: neither released nor discarded, and not
    gone from the desk."""
    wanted = pl.DataFrame({"pair_id": asked}, schema={"pair_id": pl.String})
    found = lake.query(
        "SELECT count(*) AS n FROM wanted ANTI JOIN releases USING (pair_id) "
        "ANTI JOIN (SELECT pair_id FROM reviews WHERE status = 'gone') USING (pair_id)",
        wanted=wanted,
    )
    return int(found["n"][0])


def _plan(loop: Loop, rows: list[Row], kind: str) -> None:
    """Fix the pairs of the next iteration and commit them."""
    taken = {key for row in rows for key in row["pair_ids"]}
    chosen: list[str] = []
    ended, told = None, ""
    left = loop.count_left(rows)
    evidence = loop.look() if kind == GOLD else loop.read().evidence
    if kind == GOLD:
        _check_enough(loop, evidence)
    if not loop.recipe.judges:
        ended = NOBODY if kind == RETRIEVAL and loop.spec.minutes <= 0 else None
    elif kind == GOLD:
        chosen = choose_gold(evidence, loop.recipe.seed)
    elif kind == RETRIEVAL:
        chosen = choose_retrieved(loop.lake, loop.run, loop.read(), taken, loop.spec.neighbours)
        ended = None if chosen else NO_POOL
    else:
        chosen = choose_rejudged(loop.read(), taken, loop.recipe.label.threshold)
        jury = loop.find_jury(rows)
        if jury:
            state = loop.read()
            worth, count = spend_calls(state.find_odds(chosen), jury)
            chosen = worth["pair_id"].to_list()
            ended = NO_CALLS if len(chosen) < count else None
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
        "asked": _list_drawn(loop) if kind == GOLD else [],
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


def _check_enough(loop: Loop, evidence: Evidence) -> None:
    """See that there is gold to begin with; where people may be asked, ask them for it."""
    for line in evidence.notices:
        loop.run.tell(line)
    known = int((~np.isnan(evidence.truth)).sum())
    if known >= LEAST_GOLD:
        return
    if _count_asked(loop) == 0:
        reviews = choose_random(loop.lake, loop.recipe, evidence)
        if reviews:
            loop.lake.append({"reviews": reviews}, run=loop.run, stage="loop", message="first gold")
    open_ = _count_asked(loop)
    if open_:
        raise TooLittleGold(
            f"{loop.recipe.name}: {known} gold pairs teach, and weighing judges takes "
            f"{LEAST_GOLD}. {open_} pairs drawn at random wait for people: send them (assay review "
            "push), pull and release the answers, and run the same command again. No call was made"
        )
    check_gold(loop.recipe, evidence)
    raise TooLittleGold(
        f"{loop.recipe.name}: {known} gold pairs teach, and weighing judges takes {LEAST_GOLD}: "
        f"have people label {LEAST_GOLD - known} more, drawn at random, or import them "
        f"({_say_unasked(loop, evidence)}). No call was made"
    )


def _say_unasked(loop: Loop, evidence: Evidence) -> str:
    """Why no pair waits for people as their first gold, and the mend."""
    if loop.spec.minutes <= 0:
        return "with minutes under loop they are asked"
    known = loop.lake.query("SELECT DISTINCT pair_id FROM reviews")["pair_id"]
    bare = pl.col("truth").is_null() & ~pl.col("pair_id").is_in(known.implode())
    if evidence.pairs.filter(bare).is_empty():
        return (
            "people were asked about every other pair already: have what is open answered and "
            "released, or import more pairs"
        )
    return f"the {loop.spec.minutes:g} minutes under loop hold no pair: raise them"


def _count_asked(loop: Loop) -> int:
    """How many of the pairs drawn for a first gold people have still to settle."""
    return count_open(loop.lake, _list_drawn(loop))


def _list_drawn(loop: Loop) -> list[str]:
    """The pairs of this pool that were drawn for a first gold."""
    mine = set(loop.view.pairs["pair_id"])
    return [key for key in find_drawn(loop.lake) if key in mine]


def _list_gold(evidence: Evidence) -> set[str]:
    return set(evidence.pairs.filter(pl.col("truth").is_not_null())["pair_id"])


def _try_again(loop: Loop, limit: int | None) -> list[StageSummary]:
    """Make the failed calls of the iterations that are through again. What they measured stays as
    it was; what is read of the pool afterwards heeds what was heard now."""
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
    bounds = [bound for bound in (limit, loop.count_left(rows)) if bound is not None]
    most = min(bounds, default=None)
    texts = view.find_texts(pairs)
    work = loop.lake, loop.run, loop.recipe, view.base, view.prompts, pairs, texts
    described = describe_pairs(*work, most)
    left = None if most is None else most - described.extra.get("calls", 0)
    judged = judge_pairs(*work, left)
    found = add_summaries(STAGE, [described, judged] if described.rows_in else [judged])
    failed = found.dropped.get("call_failed", 0)
    if failed:
        loop.run.tell(
            f"{name}: {failed} of {found.rows_in} calls failed and count as not heard; the same "
            "command with --retry-failed makes them again"
        )
    if found.extra["remaining"] and loop.count_left(rows) == 0:
        return replace(found, extra={**found.extra, "remaining": 0, "spent": True})
    return found


def _conclude_judging(loop: Loop, rows: list[Row], row: Row) -> None:
    """After the judges have spoken: check them, ask people, or finish."""
    if row["kind"] == GOLD:
        view, pairs = loop.view, loop.find_pairs(row["pair_ids"])
        if view.judges:
            said = find_judgments(loop.lake, loop.recipe, view.judges, pairs, view.variants)
            check_heard(view.judges, said)
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
