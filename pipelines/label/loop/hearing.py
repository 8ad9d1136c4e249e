"""Whether the judges can be heard at all, by what came back of gold, before the pool is paid
for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from annotators.loop.jury import check_jury
from annotators.talk import FAILED, Judge
from pipelines.label.loop.evidence import LEAST_HEARD, Evidence
from pipelines.lake.run import Run
from schemas.errors import AssayError

LEAST_SIDED = 30  # gold pairs that tell a jury from a coin
OF_RESPONSES = ("policy", "failures")  # methods that judge single responses
WHAT = ["response_a", "response_b"]


class TooFewCalls(AssayError):
    """The calls of a loop do not reach for the gold that it takes to hear its judges."""


class JudgeNotHeard(AssayError):
    """On gold a judge gave too little that can be read for anybody to know what it is worth."""


def check_reach(calls: int, each: int, gold: int) -> None:
    """Stop before anything is asked where the judges could not be heard on enough gold.

    Args:
        calls: how many the loop has.
        each: what a pair costs of them.
        gold: the gold pairs that there are to ask about.

    Raises:
        TooFewCalls: they pay for fewer than `LEAST_HEARD` pairs, or for fewer than there are.
    """
    least = min(LEAST_HEARD, gold)
    if calls < least * each:
        raise TooFewCalls(
            f"the {calls} calls of the loop reach for {calls // each} pairs of gold, and judges "
            f"are heard from {least} on, which takes {least * each} calls: raise loop.calls. No "
            "call was made"
        )


def check_heard(judges: Sequence[Judge], judgments: pl.DataFrame, *, short: bool = False) -> None:
    """Stop before money is spent on judges that fail, or whose answers cannot be read.

    Args:
        judgments: what `pipelines.label.labelling.find_judgments` finds of the gold pairs that the
            judges were asked about.
        short: whether the calls were spent before the judges were asked about all of gold.

    Raises:
        JudgeNotHeard: a judge was heard on fewer than `LEAST_HEARD` of them, or, where there were
            fewer to ask about, on less than half.
    """
    for judge in judges:
        mine = judgments.filter(pl.col("annotator") == judge.annotator)
        single = judge.specification["method"] in OF_RESPONSES
        whole = pl.col("p_a").is_not_null() & pl.col("criterion").is_null()
        said = pl.col("valid") & (True if single else whole)
        orders = pl.col("order").filter(said)
        told = (
            mine.filter(pl.col("response_b").is_null() == single)
            .group_by(WHAT)
            .agg(
                heard=said.any()
                & (pl.col("one_order").any() | orders.is_null().any() | (orders.n_unique() > 1)),
                failed=pl.col("reason").str.contains(FAILED).fill_null(False).any(),
            )
        )
        asked, heard = len(told), int(told["heard"].sum())
        if heard >= (LEAST_HEARD if short or asked >= LEAST_HEARD else asked / 2):
            continue
        failed = int((~told["heard"] & told["failed"]).sum())
        unread = asked - heard - failed
        mends = []
        if failed > unread:
            mends.append("Look at the server's log, then run the same command with --retry-failed")
        elif unread:
            mends.append(
                "Look at its answers (`raw` and `reason` in the table judgments), and take "
                "another template or model, or leave it out"
            )
        if short:
            mends.append("The calls of the loop did not reach for all of gold: raise loop.calls")
        raise JudgeNotHeard(
            f"{judge.annotator}: of {asked} {'responses' if single else 'pairs'} of gold it can be "
            f"heard on {heard}: {unread / max(asked, 1):.0%} of its answers could not be read, and "
            f"{failed / max(asked, 1):.0%} of its calls failed. A judge is heard from "
            f"{LEAST_HEARD} on, so nothing was spent on the pool. {'. '.join(mends)}"
        )


def check_worth(run: Run, judges: Sequence[Judge], evidence: Evidence) -> None:
    """Stop a jury that gold shows to be no better than a coin; say so where gold is too little to
    show it.

    Raises:
        annotators.loop.jury.JuryNoBetterThanChance
    """
    asked = {judge.annotator for judge in judges}
    mine = [place for place, name in enumerate(evidence.judges) if name in asked]
    said = evidence.said[:, mine]
    truth = np.where(np.isnan(evidence.truth), 0.5, evidence.truth)
    sided = int(((truth != 0.5) & (~np.isnan(said)).any(axis=1)).sum())
    if sided < LEAST_SIDED:
        run.tell(
            f"the judges were heard on {sided} gold pairs with a better side, too few to tell them "
            f"from a coin, which takes {LEAST_SIDED}: they go on unchecked. Have more pairs "
            "labelled"
        )
    check_jury(said, truth, LEAST_SIDED)
