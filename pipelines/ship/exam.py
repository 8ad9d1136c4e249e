"""The exam: a trained reward model on the held-out split, beside two baselines.

Only labels from verifiers or people examine a model: where a version's held-out pairs have any,
those alone are used. Where they have none, all held-out pairs are used and the score is headed as
what it is: agreement with the version's own judge, with the imported labels that nobody here
measured, or, where some labels are the one's and some the other's, with both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.ship.export import make_rows
from pipelines.ship.publish import find_version, list_versions
from pipelines.ship.rewards import Question, score_responses
from pipelines.ship.train import TrainedModel, find_models, find_models_of
from schemas.errors import AssayError
from schemas.ids import make_id

STAGE = "exam"
TRUSTED = ("verifier", "human", "gold")
HELD_OUT = ("test", "gold-exam")
EXAM = "accuracy on held-out pairs"
LABELLERS = {
    "llm": "its own judge", "consensus": "its own jury", "import": "the imported labels",
    "prototype": "a prototype of people",
}  # fmt: skip
RESAMPLES = 2000
EXAM_VERSION = 3


class ModelUnknown(AssayError):
    """No such trained model; the message names those that exist."""


class ModelGone(AssayError):
    """A model whose folder does not hold it any more; the message says how to train it again."""


def find_model(lake: Lake, reference: str) -> TrainedModel:
    """The model that an id (or its first digits), or NAME[@V], means.

    A version's model is one that was trained on its content, be it for another version of the
    same content; NAME is the newest version that has one.

    Raises:
        ModelUnknown: none, or several.
    """
    found = find_models(lake, "starts_with(model_id, ?)", [reference])
    if not found:
        name, _, number = reference.partition("@")
        for version in reversed(list_versions(lake, name)):
            if not found and number.removeprefix("v") in ("", str(version.version)):
                found = find_models_of(lake, version)[:1]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{m.model_id[:12]} ({m.name}@{m.version})" for m in find_models(
        lake, "true", []))  # fmt: skip
    raise ModelUnknown(
        f"{reference}: no such model; trained here: {known or 'none yet'}; "
        "`assay train NAME@V` trains one"
    )


def take_exam(lake: Lake, run: Run, model: TrainedModel) -> dict[str, Any]:
    """Examine a model on the held-out pairs of its version, once.

    Returns:
        heading, label_source, n, cut, score, ci (95 %, bootstrap over prompts, with the seed that
        the model was trained with), by_category
        {category: {n, score}} and baselines {"longest answer", "coin": {score, ci_low, ci_high}}.
        `score` is None where there is nothing to examine on. A reward that is equal for both
        sides counts one half, as does an equal length. `cut` is the number of pairs of which
        something was cut to fit the `max_length` that the model was trained with, see
        `pipelines.ship.rewards`.

    Raises:
        ModelGone: the exam was not taken yet and the model's folder does not hold it.
    """
    seed = model.config["seed"]
    exam_id = make_id("exam", model.model_id, EXAM_VERSION, seed)
    with lake.lease(f"{STAGE}:{model.model_id}", run):
        stored = lake.query("FROM exams WHERE exam_id = ?", [exam_id])
        if len(stored):
            return _to_result(stored.row(0, named=True), model)
        version = find_version(lake, f"{model.name}@{model.version}")
        used, sources = keep_held_out(make_rows(lake, version))
        row: dict[str, Any] = {
            "exam_id": exam_id,
            "model_id": model.model_id,
            "name": model.name,
            "version": model.version,
            "heading": make_heading(sources),
            "label_source": " and ".join(sources) or "none",
            "n": len(used),
            "by_category": "{}",
            "baselines": "{}",
        }
        if len(used):
            if not model.is_there:
                raise ModelGone(
                    f"{model.path}: model {model.model_id[:12]} was trained into this folder and "
                    "is not there any more; train it again with "
                    f"`assay train {model.name}@{model.version} --out FOLDER`"
                )
            run.tell(f"examining {model.model_id[:12]} on {len(used)} held-out pairs")
            row |= _grade(model, used, seed)
        lake.append({"exams": [row]}, run=run, stage=STAGE)
    return _to_result(row, model)


def keep_held_out(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Of the rows of a version (see `pipelines.ship.export.make_rows`) those that examine, and the
    kinds of opinion that decided them: the held-out ones that a verifier or people decided, or, for
    want of such, all held-out ones."""
    held = rows.filter(pl.col("split").is_in(HELD_OUT))
    trusted = held.filter(pl.col("decided_by").is_in(TRUSTED))
    used = trusted if len(trusted) else held
    return used, sorted(set(used["decided_by"]))


def make_heading(sources: Sequence[str]) -> str:
    """What a score against labels that `sources` (kinds of opinion) decided may be called."""
    if set(sources) <= set(TRUSTED):
        return EXAM
    return f"agreement with {' and '.join(LABELLERS.get(s, s) for s in sources)}"


def render_exam(result: Mapping[str, Any]) -> str:
    """The exam as a table of text."""
    if not result["n"]:
        return "exam: no held-out pair whose label can examine a model"
    lines = [
        f"{result['heading']} (n = {result['n']}, labels from {result['label_source']})",
        f"  {'reward model':<16}{result['score']:>7.1%}   95 % {_interval(result['ci'])}",
    ]
    for name, row in result["baselines"].items():
        ci = (row["ci_low"], row["ci_high"])
        lines.append(f"  {name:<16}{row['score']:>7.1%}   95 % {_interval(ci)}")
    longest = result["baselines"].get("longest answer", {}).get("score", 0.5)
    if longest < 0.5:
        lines.append(f"  (the shortest answer would score {1 - longest:.1%})")
    lines += [
        f"    {category:<20}{row['score']:>7.1%}   n = {row['n']}"
        for category, row in result["by_category"].items()
    ]
    if result["cut"]:
        lines.append(f"  warning: {tell_cut(result['cut'])}")
    return "\n".join(lines)


def tell_cut(count: int) -> str:
    """What a reader of scores must know where something was cut of `count` items."""
    return (
        f"the reward model did not see the whole of {count:,} item{'' if count == 1 else 's'}: "
        "what is longer than it was trained with is cut, prompts at their head, and responses that "
        "do not fit by themselves at their end"
    )


def _grade(model: TrainedModel, rows: pl.DataFrame, seed: int) -> dict[str, Any]:
    questions: list[Question] = [
        (prompt, (chosen[-1]["content"], rejected[-1]["content"]))
        for prompt, chosen, rejected in rows.select("prompt", "chosen", "rejected").iter_rows()
    ]
    rewards, cut = score_responses(model.path, questions, model.config["max_length"])
    chosen, rejected = np.asarray(rewards).T
    lengths = [
        np.asarray([len(messages[0]["content"]) for messages in rows[name].to_list()])
        for name in ("chosen", "rejected")
    ]
    clusters = np.asarray([json.dumps(prompt) for prompt in rows["prompt"].to_list()])
    wins = _compare(chosen, rejected)
    score, low, high = bootstrap(wins, clusters, seed)
    longest, long_low, long_high = bootstrap(_compare(*lengths), clusters, seed)
    half = 1.96 * np.sqrt(0.25 / len(rows))
    by_category = {
        str(name): {
            "n": int((rows["category"] == name).sum()),
            "score": float(wins[(rows["category"] == name).to_numpy()].mean()),
        }
        for name in sorted(set(rows["category"]))
    }
    return {
        "cut": sum(cut),
        "score": score,
        "ci_low": low,
        "ci_high": high,
        "by_category": json.dumps(by_category),
        "baselines": json.dumps(
            {
                "longest answer": {"score": longest, "ci_low": long_low, "ci_high": long_high},
                "coin": {
                    "score": 0.5,
                    "ci_low": max(0.0, 0.5 - half),
                    "ci_high": min(1.0, 0.5 + half),
                },
            }
        ),
    }


def bootstrap(wins: np.ndarray, clusters: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Mean of `wins` with its 95 % percentile interval over resampled clusters (prompts), since
    the pairs of one prompt are not independent."""
    _, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=wins)
    counts = np.bincount(index)
    draws = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(wins.mean()), float(low), float(high)


def _compare(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.where(left == right, 0.5, (left > right).astype(float))


def _interval(ci: Sequence[float]) -> str:
    return f"{ci[0]:.1%} to {ci[1]:.1%}"


def _to_result(row: Mapping[str, Any], model: TrainedModel) -> dict[str, Any]:
    return {
        "exam_id": row["exam_id"],
        "model": row["model_id"],
        "version": f"{model.name}@{model.version}",
        "heading": row["heading"],
        "label_source": row["label_source"],
        "n": row["n"],
        "cut": row.get("cut") or 0,
        "score": row.get("score"),
        "ci": [row.get("ci_low"), row.get("ci_high")],
        "by_category": json.loads(row["by_category"]),
        "baselines": json.loads(row["baselines"]),
    }
