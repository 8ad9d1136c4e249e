"""Reward models as annotators: what each says of the recipe's pairs, as rows of `judgments`.

They say with which probability one response is better: the logistic of the difference of their two
rewards. Their labels taught them, so an opinion on what they learned from would be no opinion: a
trained model is silent about the prompts of the train side of its version (also of those that chose
its epoch), and what a probe says of a pair comes from one that saw no pair of its prompt. Neither
ever sees a label of the test side.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from annotators.held_out import Shape, tell_held_out
from annotators.label_reading import read_labels
from annotators.probe import NothingToLearn
from annotators.signals.rows import KIND
from annotators.signals.scoring import SCORING_VERSION, name_model
from annotators.talk import Row
from engines.embedder import MINILM
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary, add_summaries
from pipelines.lake.vectors import embed_missing, read_vectors
from pipelines.ship.covering import read_scopes
from pipelines.ship.exam import ModelGone, find_model
from pipelines.ship.export import SPLIT_OF
from pipelines.ship.publish import Published, find_version, read_pairs
from pipelines.ship.rewards import score_responses
from schemas.ids import make_id, make_judgment_id
from schemas.opinions import RewardModelSpec
from schemas.recipe import Recipe, TrainSpec

STAGE = "annotate"
PROBE_VERSION = 1
SHAPES: dict[str, Shape] = {
    "probe": "straight", "curved_probe": "curved", "probe_ensemble": "ensemble"
}  # fmt: skip
LEARNED_FROM = "learned_from"
DIGITS = 9  # of a probability: its last bits differ from machine to machine
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Voice:
    """A reward model that can be asked.

    `pairs` are those it may speak of, in the columns of `_lay_out`; `speak` gives the probability
    that response_a is better for some of them (NaN where it cannot say), `at_once` at a time.
    """

    annotator: str
    specification: Mapping[str, Any]
    pairs: pl.DataFrame
    speak: Callable[[pl.DataFrame], Array]
    at_once: int


def annotate_pairs(
    lake: Lake,
    run: Run,
    recipe: Recipe,
    prompts: pl.DataFrame,
    pairs: pl.DataFrame,
    rollouts: pl.DataFrame,
) -> StageSummary:
    """Ask every reward model of the recipe about the pairs that it has said nothing of.

    Like judges, they are asked about what no verifier decides.

    Args:
        prompts: prompt_id, messages.
        pairs: pair_id, prompt_id, response_a, response_b, basis.
        rollouts: response_id, content.

    Returns:
        Counts of opinions: `dropped["learned_from"]` of those that a model cannot give,
        `extra["made"]` of those given now, `extra["invalid"]` of those of them that say nothing.

    Raises:
        pipelines.ship.publish.VersionMissing: with the versions that there are.
        pipelines.ship.exam.ModelUnknown, ModelGone: with how to train it.
        annotators.probe.NothingToLearn: the train side of a version is too small for a probe.
    """
    asked = _lay_out(prompts, pairs, rollouts)
    parts = [_ask(lake, run, spec, asked) for spec in dict.fromkeys(recipe.reward_models)]
    total = add_summaries(STAGE, parts)
    made = sum(part.extra["made"] for part in parts)
    return replace(total, extra={**total.extra, "made": made})


def _lay_out(prompts: pl.DataFrame, pairs: pl.DataFrame, rollouts: pl.DataFrame) -> pl.DataFrame:
    """pair_id, prompt_id, messages, response_a, response_b, content_a, content_b; by pair_id."""
    contents = rollouts.select("response_id", "content").unique("response_id")
    found = pairs.filter(pl.col("basis") != "verifier").join(
        prompts.select("prompt_id", "messages"), on="prompt_id"
    )
    for side in ("a", "b"):
        names = {"response_id": f"response_{side}", "content": f"content_{side}"}
        found = found.join(contents.rename(names), on=f"response_{side}")
    return found.sort("pair_id")


def _ask(lake: Lake, run: Run, spec: RewardModelSpec, asked: pl.DataFrame) -> StageSummary:
    started = time.monotonic()
    version = find_version(lake, spec.version)
    if spec.through == "model":
        voice = _find_model(lake, version, asked)
    else:
        voice = _find_probe(lake, run, version, asked, spec.through)
    who = {
        "annotator": voice.annotator, "snapshot": 0, "kind": KIND,
        "specification": json.dumps(voice.specification, sort_keys=True),
    }  # fmt: skip
    made = invalid = 0
    with lake.lease(f"{STAGE}:{voice.annotator}", run):
        todo = lake.query(
            "SELECT wanted.* FROM wanted ANTI JOIN (SELECT response_a, response_b FROM judgments "
            "WHERE annotator = ?) AS said USING (response_a, response_b) ORDER BY pair_id",
            [voice.annotator],
            wanted=voice.pairs,
        )
        if len(todo):
            run.tell(f"{voice.annotator} of {spec.version}: {len(todo)} pairs")
        for part in todo.iter_slices(voice.at_once):
            rows = _make_rows(voice.annotator, part, voice.speak(part))
            lake.append({"annotators": [who], "judgments": rows}, run=run, stage=STAGE)
            made += len(rows)
            invalid += sum(not row["valid"] for row in rows)
            run.progress(STAGE, made, len(todo))
    left_out = len(asked) - len(voice.pairs)
    return StageSummary(
        STAGE,
        rows_in=len(asked),
        kept=len(voice.pairs),
        dropped={LEARNED_FROM: left_out} if left_out else {},
        seconds=time.monotonic() - started,
        extra={"made": made, "invalid": invalid},
    )


def _find_model(lake: Lake, version: Published, asked: pl.DataFrame) -> Voice:
    label = f"{version.name}@{version.version}"
    model = find_model(lake, label)

    def speak(pairs: pl.DataFrame) -> Array:
        if not model.is_there:
            raise ModelGone(
                f"{model.path}: model {model.model_id[:12]} was trained into this folder and is "
                f"not there any more; train it again with `assay train {label} --out FOLDER`"
            )
        questions = [
            (prompt, (first, second))
            for prompt, first, second in pairs.select(
                "messages", "content_a", "content_b"
            ).iter_rows()
        ]
        rewards, _ = score_responses(model.path, questions, model.config["max_length"])
        first, second = np.asarray(rewards).T
        return expit(first - second)

    return Voice(
        annotator=name_model(model.model_id),
        specification={
            "model": model.model_id, "base": model.base, "version": label,
            "scoring": str(SCORING_VERSION),
        },
        pairs=asked.join(_read_taught(lake, version), on="prompt_id", how="anti"),
        speak=speak,
        at_once=500,
    )  # fmt: skip


def _find_probe(
    lake: Lake, run: Run, version: Published, asked: pl.DataFrame, through: str
) -> Voice:
    recipe = read_scopes(lake, version.name, version.version)[1]
    labels = TrainSpec.model_validate(recipe.get("train") or {}).labels
    seed = int(recipe["seed"])
    taught = lake.query(
        "SELECT p.*, c.content AS chosen, r.content AS rejected FROM p "
        "JOIN responses c ON c.response_id = chosen_id "
        "JOIN responses r ON r.response_id = rejected_id ORDER BY pair_id",
        p=_read_taught(lake, version),
    )
    lessons = read_labels(labels, taught["probability"], taught["weight"], taught["margin"])

    def speak(pairs: pl.DataFrame) -> Array:
        sides = [
            [*taught[mine].to_list(), *pairs[theirs].to_list()]
            for mine, theirs in (("chosen", "content_a"), ("rejected", "content_b"))
        ]
        embed_missing(lake, run, STAGE, [*sides[0], *sides[1]])
        first, second = (read_vectors(lake, side)[0] for side in sides)
        # pairs of weight 0 teach nothing, and are told like those that taught: by another's word
        unheard = np.zeros(len(pairs))
        try:
            told = tell_held_out(
                SHAPES[through],
                first,
                second,
                np.concatenate([lessons.p_chosen, unheard + 0.5]),
                [*taught["prompt_id"].to_list(), *pairs["prompt_id"].to_list()],
                weights=np.concatenate([lessons.weights, unheard]),
                margins=np.concatenate([lessons.margins, unheard]),
                seed=seed,
            )
        except NothingToLearn as error:
            raise NothingToLearn(
                f"the train side of {version.name}@{version.version} has {error}"
            ) from error
        return told[len(taught) :]

    shape = () if through == "probe" else (through,)
    key = make_id("probe", version.fingerprint, labels, seed, MINILM, PROBE_VERSION, *shape)
    return Voice(
        annotator=f"{through}:{key[:12]}",
        specification={
            "version": f"{version.name}@{version.version}", "fingerprint": version.fingerprint,
            "labels": labels, "embedder": MINILM, "seed": str(seed), "probe": PROBE_VERSION,
            "through": through,
        },
        pairs=asked,
        speak=speak,
        at_once=50_000,
    )  # fmt: skip


def _read_taught(lake: Lake, version: Published) -> pl.DataFrame:
    """The rows of the train side of a version."""
    side = pl.col("split").replace_strict(SPLIT_OF)
    return read_pairs(lake, version).filter(side == "train")


def _make_rows(annotator: str, pairs: pl.DataFrame, p_a: Array) -> list[Row]:
    columns = ("pair_id", "prompt_id", "response_a", "response_b")
    rows = []
    for (pair_id, prompt_id, first, second), p in zip(
        pairs.select(columns).iter_rows(), p_a.round(DIGITS).tolist(), strict=True
    ):
        valid = math.isfinite(p)
        judgment_id = make_judgment_id(
            annotator, pair_id, criterion=None, order=None, sample_index=0, origin=annotator
        )
        rows.append({
            "judgment_id": judgment_id, "annotator": annotator, "kind": KIND,
            "prompt_id": prompt_id, "response_a": first, "response_b": second, "criterion": None,
            "p_a": p if valid else None, "score": None, "tie": p == 0.5, "valid": valid,
            "reason": None if valid else "no finite reward", "order": None, "sample_index": 0,
        })  # fmt: skip
    return rows
