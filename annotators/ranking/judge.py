"""The ranking judge: a group of responses to one prompt, ordered by comparisons chosen as it goes.

Each comparison is a pairwise judge's, in both orders. A graph fit over what came back gives scores
with standard errors; a pair is spoken for only where its scores differ by more than two of them.
What is concluded holds for the group that was ranked, and of another group (a response more or
less) something else is concluded: see `annotators.ranking.conclusions`.
(ArenaRL, arXiv 2601.06487, for the tournaments; the adaptive design and the fit are ours.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotators.pairwise import PairwiseJudge
from annotators.ranking.adaptive import rank_adaptively
from annotators.ranking.cycles import find_cycles
from annotators.ranking.fit import Fit, fit_bradley_terry, fit_least_squares, select_pairs
from annotators.ranking.standing import Pair, Rounds, Standing
from annotators.ranking.topologies import TOPOLOGIES
from annotators.talk import FAILED, Item, Row, Talk, make_row, name_annotator, together
from engines.chat import ChatResult
from engines.models import ResolvedModel
from schemas.ids import make_id

Topology = Literal["adaptive", "anchor", "round_robin", "swiss", "double", "seeded"]
Z = 2.0
COSTS = ("tokens_in", "tokens_out", "seconds")
RULES = 2  # raised where the same comparisons would be read otherwise


@dataclass(frozen=True)
class GroupRanker:
    """Ranks the responses of an item through `judge`.

    `topology` says which pairs are compared: `adaptive` chooses them until the order is certain
    enough or `budget` comparisons are made, the others are ArenaRL's. `fit` is by least squares on
    the margins (`lsq`) or Bradley-Terry (`bt`).
    """

    judge: PairwiseJudge
    topology: Topology = "adaptive"
    budget: int | None = None
    fit: Literal["lsq", "bt"] = "lsq"

    @property
    def model(self) -> ResolvedModel:
        """The model of its judge."""
        return self.judge.model

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`."""
        return name_annotator("ranking", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON."""
        return {
            "method": "ranking",
            "judge": self.judge.specification,
            "topology": self.topology,
            "budget": self.budget,
            "fit": self.fit,
            "z": Z,
            "rules": RULES,
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """The rows of its judge on each pair compared; a row for each response, whose `score` is
        the fit's and whose `detail` has standard error, rank, quantile, the topology and the
        preference cycles found; and a row for each pair whose order is certain, `p_a` being the
        normal probability of the difference over its standard error. A pair inside a preference
        cycle is never spoken for.

        The calls are counted in the rows of the comparisons; what they cost together is in the
        `detail` of the first response's row. Where a call failed (unlike an answer that cannot be
        read) nothing more is asked, and the row of each response is not valid until the call is
        made again: two conclusions on one group would count it twice.
        """
        rounds = self._start(len(item.response_ids))
        rows: list[Row] = []
        count = 0
        try:
            pairs = next(rounds)
            while True:
                subs = [_pick(item, pair) for pair in pairs]
                said = yield from together([self.judge.talk(sub) for sub in subs])
                rows += [row for part in said for row in part]
                for place, part in enumerate(said, start=count):
                    if any(_has_failed(row) for row in part):
                        return rows + self._wait(item, place, rows)
                margins = [
                    _average(part) * (1 if sub.response_ids[0] == item.response_ids[i] else -1)
                    for part, sub, (i, _) in zip(said, subs, pairs, strict=True)
                ]
                count += len(pairs)
                pairs = rounds.send(margins)
        except StopIteration as stop:
            return rows + self._conclude(item, stop.value, rows)

    def _start(self, n: int) -> Rounds:
        if self.topology == "adaptive":
            return rank_adaptively(n, self.budget)
        return TOPOLOGIES[self.topology](n)

    def _wait(self, item: Item, place: int, compared: Sequence[Row]) -> list[Row]:
        """The rows of a group whose comparison `place` waits for a call."""
        failed = [[row["request_id"], row["reason"]] for row in compared if _has_failed(row)]
        reason = f"comparison {place}: {failed[0][1]}"
        details = [self._describe(item) for _ in item.response_ids]
        details[0]["cost"] = _add_costs(compared)
        return [
            self._note(item, ("waits", failed), response=response, reason=reason, detail=detail)
            for response, detail in zip(item.response_ids, details, strict=True)
        ]

    def _conclude(self, item: Item, standing: Standing, compared: Sequence[Row]) -> list[Row]:
        n = len(item.response_ids)
        solve = fit_bradley_terry if self.fit == "bt" else fit_least_squares
        fit: Fit = solve(n, standing.comparisons)
        cycles = [
            [item.response_ids[i] for i in cycle.witness]
            for cycle in find_cycles(n, standing.comparisons)
        ]
        # what was concluded follows from these comparisons and from nothing else
        heard = [(i, j, None if math.isnan(d) else d) for i, j, d in standing.comparisons]
        about = {**self._describe(item), "comparisons": len(heard), "cycles": cycles}
        met = {place for i, j, _ in standing.comparisons for place in (i, j)}
        rows = []
        for place, response in enumerate(item.response_ids):
            known = not math.isnan(standing.scores[place])
            detail = {
                **about,
                "se": float(fit.errors[place]),
                "rank": int(standing.ranks[place]) if known else None,
                "quantile": float(standing.quantiles[place]) if known else None,
                "topology_score": float(standing.scores[place]) if known else None,
            }
            if place == 0:
                detail["cost"] = _add_costs(compared)
            unread = "no comparison of it could be read" if place in met else "it was not compared"
            rows.append(
                self._note(
                    item, heard, response=response, detail=detail,
                    score=float(fit.scores[place]) if known else None,
                    reason=None if known else unread,
                )
            )  # fmt: skip
        for pair in select_pairs(fit, Z):
            sub = _pick(item, (pair.winner, pair.loser))
            p_winner = 0.5 * (1 + math.erf(pair.difference / pair.se / math.sqrt(2)))
            a_wins = sub.response_ids[0] == item.response_ids[pair.winner]
            detail = {**about, "difference": pair.difference, "se": pair.se}
            p_a = p_winner if a_wins else 1 - p_winner
            rows.append(self._note(item, heard, sub, p_a=p_a, detail=detail))
        return rows

    def _describe(self, item: Item) -> dict[str, Any]:
        """What is in the detail of every row about a group, and by what the group is known."""
        return {
            "group": item.target,
            "topology": self.topology,
            "fit": self.fit,
            "n": len(item.response_ids),
        }

    def _note(self, item: Item, heard: Any, about: Item | None = None, **said: Any) -> Row:
        """A row on a response, or on the pair `about`, that follows from what was heard of the
        whole group: no call of its own stands behind it."""
        nobody = ChatResult(make_id("ranking", item.target, heard))
        row = make_row(self.annotator, about or item, [nobody], **said)
        return {**row, "request_id": None, "raw": None}


def _pick(item: Item, pair: Pair) -> Item:
    """The pair (i, j) of an item's responses as an item, smaller id first."""
    i, j = sorted(pair, key=lambda place: item.response_ids[place])
    return Item(
        item.prompt_id,
        item.messages,
        (item.response_ids[i], item.response_ids[j]),
        (item.contents[i], item.contents[j]),
        item.category,
        item.answer,
    )


def _average(rows: Sequence[Row]) -> float:
    """The margin 2 p - 1 for the smaller id: the mean of the orders, each the mean of its samples.
    NaN where an order that was asked for is missing."""
    orders: dict[str, list[float]] = {}
    for row in rows:
        orders.setdefault(row["order"], [])
        if row["p_a"] is not None:
            orders[row["order"]].append(2 * row["p_a"] - 1)
    if not orders or not all(orders.values()):
        return math.nan
    return sum(sum(found) / len(found) for found in orders.values()) / len(orders)


def _has_failed(row: Row) -> bool:
    return re.match(FAILED, row["reason"] or "") is not None


def _add_costs(rows: Sequence[Row]) -> dict[str, float]:
    """What some comparisons cost together."""
    return {name: sum(row[name] for row in rows) for name in COSTS}
