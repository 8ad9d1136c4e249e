"""The first gold of a loop: whether there is enough to begin with, and whom to ask where there is
not."""

from __future__ import annotations

import numpy as np
import polars as pl

from annotators.loop.stacking import LEAST_GOLD, TooLittleGold
from pipelines.label.loop.evidence import Evidence, find_drawn
from pipelines.label.loop.looking import Loop
from pipelines.label.loop.plans import choose_random
from pipelines.label.loop.recycling import check_gold
from pipelines.lake.catalogue import Lake


def check_enough(loop: Loop, evidence: Evidence) -> None:
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
    return count_open(loop.lake, list_drawn(loop))


def list_drawn(loop: Loop) -> list[str]:
    """The pairs of this pool that were drawn for a first gold."""
    mine = set(loop.view.pairs["pair_id"])
    return [key for key in find_drawn(loop.lake) if key in mine]


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
