"""Reading a whole pool by the light of gold, as a stage: the second stage of the loop, without
people and without a call.

What the voices together make of each pair goes to the table `readings`. It labels nothing by
itself: the policy `gold_loop` is a view of it (`pipelines.label.loop.outcomes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from annotators.agreement import count_independent, find_interval
from annotators.loop.jury import weigh_judges
from annotators.loop.reading import PoolReading, read_pool
from annotators.loop.sorting import ALL_WARNING, sort_pairs
from annotators.loop.stacking import LEAST_GOLD, TooLittleGold
from engines.embedder import MINILM, name_embedder
from pipelines.label.loop.evidence import Evidence
from pipelines.label.sides import compare_keyed, embed_sides
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.decide import Decided, decide_stage, make_scope
from pipelines.lake.run import Run, StageSummary
from schemas.recipe import Recipe

STAGE = "recycle"
RULES = 2
READ = "read"
KEYS = ["pair_id", "prompt_id", "response_a", "response_b"]
Array = NDArray[np.float64]


class NoGold(TooLittleGold):
    """A loop without a single gold pair to be lit by."""


def recycle_pairs(lake: Lake, run: Run, recipe: Recipe, evidence: Evidence) -> StageSummary:
    """Read every pair and write what was found to `readings`. No pair is dropped by it.

    `extra["reading"]` says what the voices are worth and how right each reader is on the gold that
    teaches, held out; see `describe_reading`.

    Raises:
        NoGold, annotators.loop.stacking.TooLittleGold: with how much is needed.
        engines.embedder.EmbedderMissing: there is nothing to embed with.
    """
    scope = make_reading_scope(recipe, evidence)
    spec = recipe.loop

    def compute() -> Decided:
        for line in evidence.notices:
            run.tell(line)
        policy = spec.flip_policy if spec else "none"
        if policy == "all":
            run.tell(ALL_WARNING)
        at, found = read_evidence(lake, run, recipe, evidence)
        rows = tabulate_reading(evidence, at, found, policy).with_columns(scope=pl.lit(scope))
        told = describe_reading(evidence, at, found, recipe.seed)
        for line in (told["jury"] or {}).get("sentences", []):
            run.tell(line)
        if policy == "all":
            told["notices"].append(ALL_WARNING)
        return Decided([], tables={"readings": rows}, extra={"reading": told})

    return decide_stage(
        lake, run, stage=STAGE, scope=scope, rows_in=len(evidence.pairs), compute=compute
    )


def make_reading_scope(recipe: Recipe, evidence: Evidence) -> str:
    """The scope of the reading of these pairs and all that is said of them."""
    policy = recipe.loop.flip_policy if recipe.loop else "none"
    config = [name_embedder(MINILM), recipe.seed, policy, list(evidence.judges)]
    return make_scope(STAGE, RULES, config, evidence.list_inputs())


def find_readings(lake: Lake | PastLake, recipe: Recipe, evidence: Evidence) -> pl.DataFrame:
    """The readings of these pairs; none where they were not read."""
    return lake.query(
        "SELECT * EXCLUDE (scope, run_id, created_at) FROM readings WHERE scope = ? "
        "ORDER BY pair_id",
        [make_reading_scope(recipe, evidence)],
    )


def read_evidence(
    lake: Lake, run: Run, recipe: Recipe, evidence: Evidence
) -> tuple[NDArray[np.int64], PoolReading]:
    """The reading, and the places in `evidence.pairs` of the pairs read: those whose texts the lake
    has. What has no vector yet is embedded.

    Raises: see `recycle_pairs`.
    """
    check_gold(recipe, evidence)
    wanted = evidence.pairs.select(KEYS).with_row_index("at")
    known, apart = compare_keyed(lake, embed_sides(lake, run, STAGE, wanted).sort("at"))
    at = known["at"].to_numpy().astype(np.int64)
    pairs = evidence.pairs[at]
    found = read_pool(
        evidence.came[at],
        evidence.judges,
        evidence.said[at],
        apart,
        pairs["cluster_id"].to_list(),
        evidence.truth[at],
        pairs.select("giver", "source", "length"),
        sample=pairs["sample"].to_numpy(),
        seed=recipe.seed,
    )
    return at, found


def check_gold(recipe: Recipe, evidence: Evidence) -> None:
    """Raises:
    NoGold: no pair of the train side has gold.
    """
    if np.isnan(evidence.truth).all():
        raise NoGold(
            f"{recipe.name}: no gold pair teaches here, and the loop reads everything by gold: "
            f"import at least {LEAST_GOLD} pairs whose truth is recorded (a file of the layout "
            "judgments with `gold: true`), or have people label as many drawn at random (assay "
            "review push, then assay review release). What lies in the test split is kept for the "
            "exam and teaches nothing"
        )


def tabulate_reading(
    evidence: Evidence, at: NDArray[np.int64], found: PoolReading, flip_policy: str
) -> pl.DataFrame:
    """The rows of `readings`, without their scope."""
    p_jury = hear_jury(evidence, at, found)
    came = evidence.came[at]
    frame = evidence.pairs[at].select("pair_id", "came").with_columns(
        p=pl.Series(found.held_out),
        p_gold=pl.Series(found.p_gold),
        p_best=pl.Series(found.p_best),
        p_jury=pl.Series(p_jury, dtype=pl.Float64).fill_nan(None),
        trust=pl.Series(np.where(np.isnan(came) | (came == 0.5), np.nan, found.trust)).fill_nan(
            None
        ),
        weighs=pl.Series(found.is_sample),
    )  # fmt: skip
    acted = sort_pairs(turn_to_label(frame), flip_policy, judged=True)
    return frame.join(
        acted.select("pair_id", "action", rule="reason"), on="pair_id", how="left",
        maintain_order="left",
    ).with_columns(
        pl.col("action").fill_null(READ), pl.col("rule").fill_null("came with no label")
    )  # fmt: skip


def turn_to_label(readings: pl.DataFrame) -> pl.DataFrame:
    """pair_id, p_gold, p_best and p_jury, each of the label that the pair came with; pairs that
    came with none, or with a tie, are left out."""
    first = pl.col("came") > 0.5
    return readings.filter(pl.col("came").is_not_null() & (pl.col("came") != 0.5)).select(
        "pair_id",
        *(pl.when(first).then(name).otherwise(1 - pl.col(name)).alias(name)
          for name in ("p_gold", "p_best", "p_jury")),
    )  # fmt: skip


def hear_jury(evidence: Evidence, at: NDArray[np.int64], found: PoolReading) -> Array:
    """What the judges alone make of each pair, read by gold: (pairs), NaN where none spoke."""
    said = evidence.said[at]
    if not evidence.judges:
        return np.full(len(at), np.nan)
    heard = np.column_stack([np.full(len(at), np.nan), said])
    told = found.teacher.tell(heard)[:, 1:].sum(axis=1)
    silent = np.isnan(said).all(axis=1)
    p: Array = np.where(silent, np.nan, expit(told))
    return p


def describe_reading(
    evidence: Evidence, at: NDArray[np.int64], found: PoolReading, seed: int = 0
) -> dict[str, Any]:
    """What a reading is worth, as JSON: gold (pairs that teach), sample (of them those that weighed
    the voices), pairs; voices (each with weight, accuracy, n); readers (accuracy on gold, held out,
    with its 95 % interval, of gold model, best model and all together); jury (sentences,
    correlation of errors, how many judges they are worth, or null); notices."""
    truth = evidence.truth[at]
    weighs = found.is_sample
    clusters = evidence.pairs[at]["cluster_id"].filter(pl.Series(weighs)).to_list()
    readers = {"gold model": found.p_gold, "best model": found.p_best, "together": found.held_out}
    jury = None
    if evidence.judges:
        told = np.where(evidence.came[at] > 0.5, found.trust, 1 - found.trust)
        heard = [told[weighs]] if evidence.are_labels_measured else []
        rest = np.column_stack([*heard, found.p_gold[weighs]])
        report = weigh_judges(
            evidence.judges, evidence.said[at][weighs], truth[weighs], clusters, others=rest,
            seed=seed,
        )  # fmt: skip
        jury = {
            "correlation": report.correlation,
            "effective": report.effective,
            "majority": report.majority,
            "low": report.low,
            "high": report.high,
            "sentences": list(report.sentences),
            "judges": [
                {"judge": w.judge, "accuracy": w.accuracy, "n": w.n, "gain": w.gain, "low": w.low,
                 "high": w.high, "adds": w.adds}
                for w in report.judges
            ],
        }  # fmt: skip
    names, reading = found.reading.voices, found.reading
    return {
        "pairs": len(at),
        "gold": int(found.is_gold.sum()),
        "sample": int(weighs.sum()),
        "voices": [
            {"voice": name, "weight": float(reading.weights[k] if reading.n[k] else 0.0),
             "n": int(reading.n[k]),
             "accuracy": None if np.isnan(reading.accuracy[k]) else float(reading.accuracy[k])}
            for k, name in enumerate(names)
        ],
        "readers": {
            name: measure_reader(p[weighs], truth[weighs], clusters) for name, p in readers.items()
        },
        "jury": jury,
        "notices": list(evidence.notices),
    }  # fmt: skip


def measure_reader(p: Array, truth: Array, prompts: Sequence[str]) -> dict[str, float | int]:
    """n, accuracy, low, high of a reader on gold; a tie, its own or gold's, is half right. And
    `independent`: how many gold pairs of different prompts would say as much."""
    right = (1 + np.sign(p - 0.5) * np.sign(truth - 0.5)) / 2
    share, many = float(right.mean()), count_independent(right, prompts)
    low, high = find_interval(share, many)
    return {"n": len(right), "independent": many, "accuracy": share, "low": float(low),
            "high": float(high)}  # fmt: skip
