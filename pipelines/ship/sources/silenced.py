"""What each voice that the labels of a version rest on is worth: the labels are made again without
it, and held against gold that had no say in them.

Where the pool was read by the light of gold it is read again (`annotators.loop.silencing`), of a
large pool a part. Any other label policy is applied again, to opinions of which the exam's gold was
taken out: so it says of the exam what it says of pairs without gold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from annotators.gold import select_gold, settle_gold
from annotators.loop.silencing import COLUMNS, Pool, silence_voices
from annotators.marginal import bootstrap_means, tell_right
from annotators.votes import PAIR
from pipelines.label.juries import JURIES
from pipelines.label.labelling import LOOP, calibrate
from pipelines.label.people.prototyping import compare_sides
from pipelines.label.policies import POLICIES
from pipelines.lake.teaching import on_test
from pipelines.ship.sources.facts import place_pairs
from pipelines.view import View
from schemas.errors import AssayError
from schemas.ids import make_seed

MOST_READ = 4_000
"""Pairs that are read without each voice at most, by the hash of their prompts, gold first."""
VOICES = 12
"""Left out in turn, those of the most pairs."""
LEAST_EXAM = 20
KEYS = ["pair_id", "prompt_id", "response_a", "response_b"]


def value_voices(view: View, said: pl.DataFrame, content: pl.DataFrame) -> dict[str, Any]:
    """The marginal value of each voice.

    Args:
        view: of the version's recipe over the lake as it stood when the version was published.
        said: of `pipelines.ship.sources.facts.find_said`.
        content: the rows of `version_pairs`.

    Returns:
        voices, held, exam, accuracy, precision, kept (see `annotators.loop.silencing.Silenced`;
        of another policy than `gold_loop` the exam is all that is held out, a pair left open is
        half right, there is no precision, and those who speak as gold are no voices), read
        (pairs); unknown: None, or why nothing can be said.
    """
    found: dict[str, Any] = {
        "voices": [], "held": 0, "exam": 0, "accuracy": None, "precision": None, "kept": None,
        "read": 0, "unknown": None,
    }  # fmt: skip
    if view.recipe.label.prototype:
        return found | {"unknown": "the labels are those of a kind of people, and no voice's"}
    try:
        return found | (
            _read_again(view, said)
            if view.recipe.label.policy == LOOP
            else _label_again(view, said, content)
        )
    except AssayError as error:
        return found | {"unknown": str(error)}


class NoExamGold(AssayError):
    """Too little gold of the test side to hold labels against."""


def _read_again(view: View, said: pl.DataFrame) -> dict[str, Any]:
    evidence = view.evidence
    exam = _find_exam(view, said)
    wanted = evidence.pairs.with_row_index("at").join(exam, on="pair_id", how="left")
    known = pl.col("truth").is_not_null() | pl.col("examined").is_not_null()
    place = pl.col("cluster_id").map_elements(
        lambda name: make_seed("silenced", view.recipe.seed, name), pl.Int64
    )
    ordered = wanted.sort(place, "pair_id")
    gold = ordered.filter(known).head(MOST_READ // 2)
    taken = pl.concat([gold, ordered.filter(~known).head(MOST_READ - len(gold))]).sort("pair_id")
    there, vectors = compare_sides(view.lake, taken.select(KEYS))
    rows = taken.join(there.select("pair_id").with_row_index("row"), on="pair_id").sort("pair_id")
    at = rows["at"].to_numpy()
    pairs = evidence.pairs[at]
    pool = Pool(
        label=evidence.came[at],
        judges=evidence.judges,
        said=evidence.said[at],
        apart=vectors[rows["row"].to_numpy()],
        prompts=tuple(pairs["cluster_id"]),
        gold=evidence.truth[at],
        traits=pairs.select("giver", "source", "length"),
        sample=pairs["sample"].to_numpy(),
        exam=rows["examined"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        seed=view.recipe.seed,
    )
    told = silence_voices(pool, view.recipe.label.threshold)
    return {
        "voices": told.voices.to_dicts(), "held": told.held, "exam": told.exam,
        "accuracy": told.accuracy, "precision": told.precision, "kept": told.kept,
        "read": len(pairs),
    }  # fmt: skip


def _label_again(view: View, said: pl.DataFrame, content: pl.DataFrame) -> dict[str, Any]:
    exam = _find_exam(view, said)
    if len(exam) < LEAST_EXAM:
        raise NoExamGold(
            f"{len(exam)} pairs of the test side have gold, and what a voice is worth shows on "
            f"{LEAST_EXAM} at least: have people label pairs there, or import gold, and publish "
            "again"
        )
    spec = view.recipe.label
    heard = said
    if spec.calibration:
        heard = calibrate(view.lake, heard, spec.calibration)
    pairs = place_pairs(view)
    asked = pairs.join(exam, on="pair_id", how="semi")
    own = select_gold(heard).join(asked.select(PAIR), on=PAIR, how="semi")
    bare = heard.join(own.select("judgment_id"), on="judgment_id", how="anti")
    policy = {**POLICIES, **JURIES}[spec.policy]
    clusters = exam.join(pairs, on="pair_id", maintain_order="left")["cluster_id"].to_list()
    truth = exam["examined"].to_numpy()
    open_ = pairs.join(exam, on="pair_id", how="anti").select("pair_id")

    def label(opinions: pl.DataFrame) -> tuple[np.ndarray, float]:
        """How right the labels are of exam gold, and the share of the other pairs that get one."""
        labels = policy(pairs, opinions, spec.threshold)
        p = pl.when(pl.col("status") == "labelled").then("p_a").otherwise(0.5)
        mine = exam.join(labels.select("pair_id", p=p), on="pair_id", maintain_order="left")
        kept = labels.join(open_, on="pair_id", how="semi")["status"] == "labelled"
        return tell_right(mine["p"].to_numpy(), truth), float(kept.mean() or 0.0)  # type: ignore[arg-type]

    right, kept = label(bare)
    rows, gains = [], []
    counts = content["annotators"].explode().drop_nulls().value_counts(sort=True)
    kinds = dict(bare.select("annotator", "kind").unique("annotator", keep="first").iter_rows())
    witnesses = set(select_gold(heard)["annotator"])
    names = [name for name in counts["annotators"] if name in kinds and name not in witnesses]
    for name in names[:VOICES]:
        less, share = label(bare.filter(pl.col("annotator") != name))
        gains.append(right - less)
        spoken = pairs.join(bare.filter(annotator=name).select(PAIR), on=PAIR, how="semi")
        rows.append({"voice": name, "what": kinds[name], "n": len(spoken),
                     "accuracy": float(less.mean()), "kept": kept - share})  # fmt: skip
    found = bootstrap_means(np.array(gains).reshape(-1, len(truth)), clusters, view.recipe.seed)
    for row, *ends in zip(rows, *found, strict=True):
        row |= dict(zip(("value", "value_low", "value_high"), ends, strict=True))
    frame = pl.DataFrame(rows, schema=COLUMNS)
    return {
        "voices": frame.sort("value", "voice", descending=[True, False]).to_dicts(),
        "held": len(exam), "exam": len(exam), "accuracy": float(right.mean()), "kept": kept,
        "read": len(pairs),
    }  # fmt: skip


def _find_exam(view: View, said: pl.DataFrame) -> pl.DataFrame:
    """pair_id, examined (what gold of the test side says); sorted."""
    held = place_pairs(view).filter(on_test())
    voices = select_gold(said).join(held.select(PAIR), on=PAIR, how="semi")
    gold = settle_gold(voices).join(held.select(*PAIR, "pair_id"), on=PAIR)
    return gold.select("pair_id", examined="p_a").sort("pair_id")
