"""A recipe's loop over a lake, as one run sees it: what speaks of the pool, how the pool reads, and
what may still be spent on it."""

from __future__ import annotations

import polars as pl

from pipelines.label.describing import load_writer
from pipelines.label.labelling import find_judgments
from pipelines.label.loop.charging import count_calls, count_spent
from pipelines.label.loop.evidence import Evidence, find_drawn, gather_evidence
from pipelines.label.loop.plans import State
from pipelines.label.loop.progress import Row, name_loop
from pipelines.label.loop.recycling import read_evidence
from pipelines.label.loop.valuing import Jury, measure_jury
from pipelines.label.sides import size_sides
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.view import View
from schemas.ids import make_id
from schemas.looping import LoopSpec

SAID = """
SELECT (SELECT count(*) FROM judgments), (SELECT count(*) FROM imports),
    (SELECT count(*) FROM reviews)
"""


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

    def count_left(self, rows: list[Row], again: str | None = None) -> int | None:
        """How many calls of `loop.calls` are left after these iterations; None: no bound.

        Args:
            again: the id of a run that makes failed calls again; this one's, where it does.
        """
        if self.spec.calls is None:
            return None
        names = [judge.annotator for judge in self.view.judges]
        asked = [*names, self.writer] if self.writer else names
        if again is None and self.run.retry_failed:
            again = self.run.run_id
        spent = count_spent(self.lake, self.loop_id, asked, self.view.pairs, rows, again)
        return max(0, self.spec.calls - spent)

    def reaches_a_pair(self, rows: list[Row]) -> bool:
        """Whether the calls that are left after these iterations pay for a pair."""
        left = self.count_left(rows)
        return left is None or left >= self.each

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
