"""What an iteration of the loop is to do: which pairs go to the judges, and which to people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.loop.reading import PoolReading
from annotators.loop.retrieval import fetch_neighbours
from annotators.loop.sorting import sort_pairs
from annotators.loop.spending import Source, spend
from pipelines.label.loop.evidence import FIRST_GOLD, Evidence
from pipelines.label.loop.recycling import KEYS, hear_jury, measure_reader, turn_to_label
from pipelines.label.loop.valuing import JURY, Jury
from pipelines.label.people.costs import expect_seconds
from pipelines.label.people.targets import list_targets
from pipelines.label.people.voices import CONTEXT
from pipelines.label.sides import EMBEDDED
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.lake.teaching import on_train
from pipelines.lake.vectors import embed_missing, find_missing, key_texts, read_keyed
from schemas.ids import make_seed
from schemas.recipe import Recipe

MOST_GOLD = 500  # pairs on which a jury is measured; more would tell little more
PERSON = 0.9  # how often a person is right, before anybody has measured it
LOOP = "gold_loop"  # why a review was queued
FIRST_WORTH = 1.0
REVIEW = (
    "review_id", "pair_id", "prompt_id", "response_a", "response_b", "responses", "left", "reason",
)  # fmt: skip
Array = NDArray[np.float64]

ASKED = f"right(array_to_string([m.content FOR m IN messages], chr(10)), {CONTEXT})"
PROMPTS = f"SELECT wanted.pair_id, {ASKED} AS text FROM wanted JOIN prompts USING (prompt_id)"
DESCRIBED = f"""
SELECT wanted.pair_id, concat_ws(chr(10), {ASKED}, task_category,
    array_to_string(desired_attributes, ', '), guideline) AS text
FROM wanted JOIN prompts USING (prompt_id) JOIN (
    SELECT target, task_category, desired_attributes, guideline FROM attributes WHERE valid
    QUALIFY row_number() OVER (PARTITION BY target ORDER BY created_at DESC, attributes_id) = 1
) ON target = wanted.pair_id
"""
UNDESCRIBED = """
SELECT count(*) AS n FROM wanted
WHERE pair_id NOT IN (SELECT target FROM attributes WHERE valid)
"""


@dataclass(frozen=True, eq=False)
class State:
    """A pool as it is read in an iteration: the places in `evidence.pairs` of the pairs read, the
    reading, and what the better of the two probes gives each (`p_best`, chosen on gold)."""

    evidence: Evidence
    at: NDArray[np.int64]
    found: PoolReading

    @property
    def pairs(self) -> pl.DataFrame:
        """The pairs read."""
        return self.evidence.pairs[self.at]

    @property
    def truth(self) -> Array:
        """(pairs read), NaN where no gold teaches."""
        truth: Array = self.evidence.truth[self.at]
        return truth

    @property
    def p_best(self) -> Array:
        """(pairs read)"""
        readers = self.found.p_best, self.found.p_gold
        right = [self._measure(p)["accuracy"] for p in readers]
        return readers[int(np.argmax(right))]

    def find_odds(self, keys: Sequence[str]) -> pl.DataFrame:
        """pair_id and z, the log odds of its label, of these pairs read, in the order given."""
        known = self.pairs.select("pair_id", z=pl.Series(self.found.log_odds))
        wanted = pl.DataFrame({"pair_id": keys}, schema={"pair_id": pl.String})
        return wanted.join(known, on="pair_id", maintain_order="left")

    def measure(self) -> dict[str, Any]:
        """The columns of `iterations` that say how right the readers are on gold."""
        best, together = self._measure(self.p_best), self._measure(self.found.held_out)
        return {
            "accuracy": best["accuracy"],
            "accuracy_low": best["low"],
            "accuracy_high": best["high"],
            "accuracy_read": together["accuracy"],
        }

    def count_gold(self) -> int:
        """How many gold pairs of different prompts would say as much of the best probe as these."""
        return int(self._measure(self.p_best)["independent"])

    def _measure(self, p: Array) -> dict[str, float | int]:
        weighs = self.found.is_sample
        prompts = self.pairs["cluster_id"].filter(pl.Series(weighs)).to_list()
        return measure_reader(p[weighs], self.truth[weighs], prompts)


def choose_gold(evidence: Evidence, seed: int) -> list[str]:
    """The gold pairs that the jury is measured on: `MOST_GOLD`, by hash."""
    ids = evidence.pairs.filter(pl.col("truth").is_not_null())["pair_id"].to_list()
    return sorted(ids, key=lambda key: (make_seed("jury", seed, key), key))[:MOST_GOLD]


def list_untouched(evidence: Evidence, taken: set[str]) -> pl.DataFrame:
    """The pairs that an iteration may still fetch: of the train side, not gold, not taken."""
    return evidence.pairs.filter(
        on_train(),
        pl.col("truth").is_null(),
        ~pl.col("pair_id").is_in(pl.Series(sorted(taken), dtype=pl.String).implode()),
    )


def choose_retrieved(
    lake: Lake, run: Run, state: State, taken: set[str], neighbours: int
) -> list[str]:
    """The pairs most like the gold pairs that the best probe errs on (see
    `annotators.loop.retrieval`), nearest first: by their prompts and attributes where all of them
    are described, else by their prompts alone, for a text with attributes is near to others with
    attributes whatever is asked."""
    sided = ~np.isnan(state.truth) & (state.truth != 0.5)
    gold = state.pairs.filter(pl.Series(sided))
    p = np.where(state.truth > 0.5, state.p_best, 1 - state.p_best)[sided]
    pool = list_untouched(state.evidence, taken)
    if pool.is_empty() or gold.is_empty():
        return []
    if len(pool) < neighbours:
        run.tell(
            f"the pool holds {len(pool)} pairs that nobody has judged, fewer than the {neighbours} "
            "that one gold pair may fetch: import more, or make more rollouts, for a retrieval "
            "that chooses"
        )
    both = pl.concat([frame.select("pair_id") for frame in (gold, pool)])
    lacking = int(lake.query(UNDESCRIBED, wanted=both)["n"][0])
    (gold_ids, gold_vectors), (pool_ids, pool_vectors) = (
        _embed(lake, run, frame, PROMPTS if lacking else DESCRIBED) for frame in (gold, pool)
    )
    chance = dict(zip(gold["pair_id"], p, strict=True))
    fetched = fetch_neighbours(
        gold_vectors, np.array([chance[key] for key in gold_ids]), pool_vectors, neighbours
    )
    ranked = fetched.sort(pl.col("similarity").neg(), "pool")
    return [pool_ids[place] for place in ranked["pool"]]


def choose_rejudged(state: State, taken: set[str], threshold: float) -> list[str]:
    """The pairs whose label the best model does not agree with and no judge has spoken on; and
    those that came with none and have no sure side. Least sure first."""
    p_jury = hear_jury(state.evidence, state.at, state.found)
    frame = state.pairs.select("pair_id", "came", "truth").with_columns(
        p=pl.Series(state.found.held_out),
        p_gold=pl.Series(state.found.p_gold),
        p_best=pl.Series(state.p_best),
        p_jury=pl.Series(p_jury, dtype=pl.Float64).fill_nan(None),
    )
    open_ = frame.filter(
        pl.col("truth").is_null(),
        ~pl.col("pair_id").is_in(pl.Series(sorted(taken), dtype=pl.String).implode()),
    )
    acted = sort_pairs(turn_to_label(open_), "none").filter(pl.col("action") == "judge")
    sure = pl.max_horizontal("p", 1 - pl.col("p"))
    bare = (pl.col("came").is_null() | (pl.col("came") == 0.5)) & pl.col("p_jury").is_null()
    asked = open_.filter(
        pl.col("pair_id").is_in(acted["pair_id"].implode()) | (bare & (sure < threshold))
    )
    return asked.sort(sure.round(9), "pair_id")["pair_id"].to_list()


def choose_people(
    lake: Lake, recipe: Recipe, state: State, jury: Jury | None = None, shared: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows of `reviews` for the pairs on which people's minutes are expected to put most labels
    right (see `annotators.loop.spending`), within `loop.minutes`.

    Args:
        jury: the judges, where calls are counted, for what each is better asked about.
        shared: the pairs that they would be asked about in the end (see `choose_rejudged`).
    """
    frame = state.pairs.with_columns(
        z=pl.Series(state.found.log_odds), shared=pl.col("pair_id").is_in(list(shared))
    ).filter(on_train() & pl.col("truth").is_null())
    return _ask(lake, recipe, frame, LOOP, jury)


def choose_random(lake: Lake, recipe: Recipe, evidence: Evidence) -> list[dict[str, Any]]:
    """Rows of `reviews` for pairs drawn by hash, within `loop.minutes`, where there is no gold to
    choose by: of both sides of the split, so that some of it is for the exam."""
    ids = evidence.pairs.filter(pl.col("truth").is_null())["pair_id"].to_list()
    drawn = sorted(ids, key=lambda key: (make_seed("first gold", recipe.seed, key), key))
    order = pl.DataFrame({"pair_id": drawn}, schema={"pair_id": pl.String})
    frame = order.join(evidence.pairs, on="pair_id", maintain_order="left")
    return _ask(lake, recipe, frame.with_columns(z=pl.lit(0.0), shared=pl.lit(False)), FIRST_GOLD)


def _ask(
    lake: Lake, recipe: Recipe, pairs: pl.DataFrame, reason: str, jury: Jury | None = None
) -> list[dict[str, Any]]:
    """Rows of `reviews` for those of `pairs` that are not there yet: what fills `loop.minutes`
    best, the first of equals.

    Args:
        pairs: with z, the log odds of their labels, and shared, whether the jury may be asked too.
    """
    minutes = recipe.loop.minutes if recipe.loop else 0.0
    known = set(lake.query("SELECT DISTINCT review_id FROM reviews")["review_id"])
    told = list_targets(pairs.with_columns(reason=pl.lit(reason)), "preference")
    targets = [
        {**row, "z": z, "shared": shared}
        for row, z, shared in zip(told, pairs["z"], pairs["shared"], strict=True)
        if row["review_id"] not in known
    ]  # fmt: skip
    if not targets or minutes <= 0:
        return []
    asked = pl.DataFrame(
        {
            "prompt_id": [row["prompt_id"] for row in targets],
            "question": "preference",
            "responses": [[row["response_a"], row["response_b"]] for row in targets],
        }
    )
    seconds = expect_seconds(lake, asked).to_list()
    cost = [max(one * recipe.review.overlap / 60, 1e-6) for one in seconds]
    if reason == FIRST_GOLD:  # a sample is no sample that leaves out what takes long
        places = int((np.cumsum(cost) <= minutes).sum())
        chosen = [(place, FIRST_WORTH) for place in range(places)]
    else:
        people = Source("people", float(np.log(PERSON / (1 - PERSON))), minutes)
        sources, costs = (people,), {"people": cost}
        if jury:
            sources += (jury.source,)
            costs[JURY] = [jury.each if row["shared"] else float("inf") for row in targets]
        spent = spend([row["z"] for row in targets], sources, costs)
        mine = spent.filter(pl.col("by") == "people")
        chosen = list(mine.select("place", "gain").iter_rows())
    return [
        {
            **{name: targets[place][name] for name in REVIEW},
            "status": "queued",
            "question": "preference",
            "role": "work",
            "gain": gain,
            "why": json.dumps({"worth": gain, **_value(targets[place], jury)}, sort_keys=True),
            "expected_seconds": seconds[place],
        }
        for place, gain in chosen
    ]


def _value(target: dict[str, Any], jury: Jury | None) -> dict[str, float]:
    """What the jury's word on the same pair is expected to gain, where it may be asked for it."""
    return {JURY: jury.gain([target["z"]])[0]} if jury and target["shared"] else {}


def _embed(
    lake: Lake, run: Run, pairs: pl.DataFrame, texts: str
) -> tuple[list[str], NDArray[np.float32]]:
    """The ids, in order, and the vectors of what `texts` selects of each."""
    keyed = key_texts(lake, texts, wanted=pairs.select(KEYS)).sort("pair_id")
    missing = pl.DataFrame({"key": find_missing(lake, keyed["key"])}, schema={"key": pl.String})
    unknown = keyed.join(missing, on="key", how="semi")
    lacking = pairs.select(KEYS).join(unknown, on="pair_id", how="semi")
    for part in lacking.iter_slices(EMBEDDED):
        embed_missing(lake, run, "loop", lake.query(texts, wanted=part)["text"].to_list())
    vectors, _ = read_keyed(lake, keyed["key"])
    return keyed["pair_id"].to_list(), vectors
