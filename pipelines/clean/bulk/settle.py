"""What becomes of each row of a pool: the first rule that it meets, in the order of `RULES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipelines.clean.bulk.clusters import Clusters
from pipelines.clean.bulk.mixing import mix_rows
from pipelines.clean.bulk.sketch import Sketch, load_all
from pipelines.clean.mix import Counted
from schemas.mixing import MixSpec

RULES = (
    "kept", "unusable", "identical_responses", "contaminated", "duplicate_pair", "mirrored_pair",
    "near_duplicate", "mixed_out",
)  # fmt: skip
"""`unusable` rows are quarantined, the others dropped."""
KEPT, UNUSABLE, IDENTICAL, CONTAMINATED, DUPLICATE, MIRRORED, NEAR, MIXED = range(len(RULES))
NOBODY = -1


@dataclass(frozen=True, eq=False)
class Settled:
    """Of n rows, in the order of the sketches.

    Columns: rule (int8), its place in `RULES`; stands (int64), the row that stands for it, -1 where
    none does; counted (int32), of rows that were mixed out what was full (see `mix.choose_rows`).
    `mixed` is what rows count for, what was reached, and the total.
    """

    rule: NDArray[np.int8]
    stands: NDArray[np.int64]
    counted: NDArray[np.int32]
    mixed: tuple[list[Counted], list[NDArray[np.int64]], int] | None


def settle_rows(
    sketches: Sequence[Sketch], clusters: Clusters, mix: MixSpec | None, seed: int
) -> Settled:
    """Decide on all rows.

    Of rows that say the same, or nearly the same, the one with the best tier stays, then the one
    with the most votes, then the one with the least key of its texts, or of its id: never the one
    that came first, so that the order of files and rows changes nothing. Of rows that contradict
    each other (one pair, the two answers the other way round) the better tier stays, then the side
    with more votes; where neither is more, all of them go, for nothing tells which is right.
    """
    total = len(clusters.lead)
    keys, ids = load_all(sketches, "item_keys"), load_all(sketches, "id_keys")
    tier, votes = load_all(sketches, "tier"), load_all(sketches, "votes")
    rule = np.zeros(total, dtype=np.int8)
    stands = np.full(total, NOBODY, dtype=np.int64)
    rule[load_all(sketches, "same")] = IDENTICAL
    rule[load_all(sketches, "fault") != 0] = UNUSABLE
    contaminated = _list_contaminated(sketches)
    rule[contaminated[rule[contaminated] == KEPT]] = CONTAMINATED
    turned = load_all(sketches, "turned")
    _settle_same(clusters.lead, turned, tier, votes, keys, ids, rule, stands)
    _settle_near(clusters.root, tier, votes, keys, ids, rule, stands)
    counted = np.full(total, NOBODY, dtype=np.int32)
    if mix is None:
        return Settled(rule, stands, counted, None)
    survivors = np.flatnonzero(rule == KEPT)
    outcome, report = mix_rows(sketches, survivors, keys, mix, seed)
    gone = outcome != NOBODY
    rule[survivors[gone]] = MIXED
    counted[survivors] = outcome
    return Settled(rule, stands, counted, report)


def _list_contaminated(sketches: Sequence[Sketch]) -> NDArray[np.int64]:
    found, first = [np.zeros(0, dtype=np.int64)], 0
    for sketch in sketches:
        found.append(sketch.read_hits()["row"].to_numpy() + first)
        first += sketch.part.rows
    return np.concatenate(found)


@njit(nogil=True)
def _is_better(one: int, two: int, tier: Any, votes: Any, keys: Any, ids: Any) -> bool:
    if tier[one] != tier[two]:
        return tier[one] < tier[two]
    if votes[one] != votes[two]:
        return votes[one] > votes[two]
    if keys[one, 0] != keys[two, 0]:
        return keys[one, 0] < keys[two, 0]
    if keys[one, 1] != keys[two, 1]:
        return keys[one, 1] < keys[two, 1]
    return ids[one] < ids[two]


@njit(nogil=True, cache=True)
def _settle_same(
    lead: Any, turned: Any, tier: Any, votes: Any, keys: Any, ids: Any, rule: Any, stands: Any
) -> None:
    """Rows with one key: of each way round the best tier and the votes for it, and its best row."""
    total = lead.size
    best = np.full((total, 2), -1, dtype=np.int32)
    backed = np.zeros((total, 2), dtype=np.int64)
    for row in range(total):
        if rule[row] != 0:
            continue
        way, group = np.int64(turned[row]), lead[row]
        held = best[group, way]
        if held < 0 or tier[row] < tier[held]:
            backed[group, way] = votes[row]
        elif tier[row] == tier[held]:
            backed[group, way] += votes[row]
        if held < 0 or _is_better(row, held, tier, votes, keys, ids):
            best[group, way] = row
    for row in range(total):
        if rule[row] != 0:
            continue
        group, way = lead[row], np.int64(turned[row])
        mine, other = best[group, way], best[group, 1 - way]
        winner = way
        if other >= 0:
            if tier[other] != tier[mine]:
                winner = way if tier[mine] < tier[other] else 1 - way
            elif backed[group, 0] != backed[group, 1]:
                winner = 0 if backed[group, 0] > backed[group, 1] else 1
            else:
                winner = -1
        if winner < 0:
            rule[row] = 5
        elif winner != way:
            rule[row], stands[row] = 5, best[group, winner]
        elif mine != row:
            rule[row], stands[row] = 4, mine


@njit(nogil=True, cache=True)
def _settle_near(
    root: Any, tier: Any, votes: Any, keys: Any, ids: Any, rule: Any, stands: Any
) -> None:
    best = np.full(root.size, -1, dtype=np.int32)
    for row in range(root.size):
        if rule[row] == 0:
            held = best[root[row]]
            if held < 0 or _is_better(row, held, tier, votes, keys, ids):
                best[root[row]] = row
    for row in range(root.size):
        if rule[row] == 0 and best[root[row]] != row:
            rule[row], stands[row] = 6, best[root[row]]
