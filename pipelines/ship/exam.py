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
from pipelines.ship.exams.intervals import Array, estimate, tally
from pipelines.ship.exams.items import win
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
        heading, label_source, n, cut, unscored, score, ci (95 %, bootstrap over prompts, with the
        seed that the model was trained with, see `pipelines.ship.exams.intervals.estimate`),
        by_category {category: {n, score}} and baselines {"longest answer", "coin": {score, ci_low,
        ci_high}}. A pair with a reward that is no number is `unscored`, and no part of `n`.
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
    odd = f"{result['unscored']} pairs are not scored: a reward is no number"
    if not result["n"]:
        why = odd if result["unscored"] else "no held-out pair whose label can examine a model"
        return f"exam: {why}"
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
    if result["unscored"]:
        lines.append(f"  warning: {odd}")
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
    found = np.asarray(rewards)
    scored = np.isfinite(found).all(axis=1)
    counts = {"n": int(scored.sum()), "unscored": int((~scored).sum())}
    if not scored.any():
        return counts
    wins = win(*found[scored].T)
    kept = [question for question, good in zip(questions, scored, strict=True) if good]
    longer = win(*np.asarray([[len(text) for text in texts] for _, texts in kept]).T)
    prompts = [json.dumps(prompt) for prompt, _ in kept]
    half = 1.96 * np.sqrt(0.25 / len(kept))
    categories = rows.filter(scored)["category"]
    by_category = {
        str(name): {
            "n": int((categories == name).sum()),
            "score": float(wins[(categories == name).to_numpy()].mean()),
        }
        for name in sorted(set(categories))
    }
    coin = {"score": 0.5, "ci_low": max(0.0, 0.5 - half), "ci_high": min(1.0, 0.5 + half)}
    return {
        **counts,
        "cut": int(np.asarray(cut)[scored].sum()),
        **_estimate(prompts, wins, seed),
        "by_category": json.dumps(by_category),
        "baselines": json.dumps({"longest answer": _estimate(prompts, longer, seed), "coin": coin}),
    }


def _estimate(prompts: Sequence[str], wins: Array, seed: int) -> dict[str, float]:
    ones = tally(prompts, ["all"] * len(prompts), wins.tolist(), {"all": 1.0})
    found = estimate(ones, seed)
    return {"score": found.value, "ci_low": found.low, "ci_high": found.high}


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
        "unscored": row.get("unscored") or 0,
        "score": row.get("score"),
        "ci": [row.get("ci_low"), row.get("ci_high")],
        "by_category": json.loads(row["by_category"]),
        "baselines": json.loads(row["baselines"]),
    }
