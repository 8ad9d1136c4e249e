"""Taking an exam: a version, through its reward model where it has one and through the fixed small
probe, on its held-out pairs and on outside sets; all examinees in one table, on the same items."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipelines.ship.exam import STAGE, ModelGone, make_heading
from pipelines.ship.exams.best_of import trace_best_of
from pipelines.ship.exams.examination import COIN, LONGEST, MODEL, Examination, is_trusted
from pipelines.ship.exams.forecast import ORDERS, choose_sizes, forecast
from pipelines.ship.exams.intervals import Array, estimate
from pipelines.ship.exams.items import ExamSet, Item, win
from pipelines.ship.exams.leaks import find_leaks, keep_taught
from pipelines.ship.exams.lessons import store_items, store_rollouts
from pipelines.ship.exams.probing import (
    Reward,
    embed,
    learn,
    list_texts,
    reward_length,
    reward_with,
    stack_differences,
)
from pipelines.ship.exams.reading import NEVER_A_GATE
from pipelines.ship.exams.scoring import (
    HELD_OUT,
    keep_guesses,
    keep_ledger,
    score_set,
    write_interval,
)
from pipelines.ship.exams.slices import list_comparisons, measure_margins, score_lengths
from pipelines.ship.exams.views import score_views
from pipelines.ship.rewards import Question, count_cut, score_responses
from pipelines.ship.train import TrainedModel
from schemas.ids import make_id

EXAMS_VERSION = 4


def take_exams(exam: Examination, sets: Sequence[ExamSet] = ()) -> dict[str, dict[str, Any]]:
    """Examine a version on its held-out pairs and on `sets`. What the lake has is not done again.

    Returns:
        set -> its result: set, place, n, prompts, heading, main (whose), score, ci, by_category;
        rows {examinee: {score, ci, pairs, of}}, the main one first (`pairs` is what a probe learned
        from, `of` how many there were to learn from);
        length and calibration (see `slices`); best_of (`best_of.trace_best_of`); styles and
        ties where the set has them, and views (`views.score_views`) where it is in steps; gates
        (whether it may gate a release); unscored {reason: rows}; cut (items of which the reward
        model did not see all); leaked (`leaks.find_leaks`); of
        the held-out pairs also forecast (`forecast.forecast`).
        A set of nothing has score None and no rows.

    Raises:
        pipelines.ship.exams.examination.TooLittleTaught, pipelines.ship.exam.ModelGone
    """
    all_sets = [exam.held_out, *sets]
    every = dict(zip(name_sets(all_sets), all_sets, strict=True))
    keys = {name: _make_key(exam, found) for name, found in every.items()}
    with exam.lake.lease(f"{STAGE}:{exam.version.fingerprint}", exam.run):
        known = dict(
            exam.lake.query(
                "SELECT grade_id, detail FROM grades SEMI JOIN wanted USING (grade_id)",
                wanted=pl.DataFrame({"grade_id": list(keys.values())}),
            ).iter_rows()
        )
        missing = {name: s for name, s in every.items() if keys[name] not in known}
        results = {
            name: json.loads(known[keys[name]]) | _head(exam, name, found)
            for name, found in every.items()
            if name not in missing
        }
        if missing:
            made = _examine(exam, missing)
            rows = [_make_row(exam, keys[name], name, missing[name], made[name]) for name in made]
            exam.lake.append({"grades": rows}, run=exam.run, stage=STAGE)
            results |= made
    return {name: results[name] for name in every}


def name_sets(sets: Sequence[ExamSet]) -> list[str]:
    """What to call each: its benchmark's name, with the place where two would be called alike."""
    names = [found.name for found in sets]
    return [f"{s.name} ({s.place})" if names.count(s.name) > 1 else s.name for s in sets]


def fit_probes(exam: Examination, texts: Sequence[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The vectors of all texts concerned, and the weights of each probe by its name."""
    taught = [text for lessons in exam.lessons for text in (*lessons.chosen, *lessons.rejected)]
    vectors = embed(exam.lake, exam.run, [*taught, *texts])
    weights = {one.name: learn(stack_differences(vectors, one)) for one in exam.lessons}
    return vectors, weights


def _examine(exam: Examination, sets: Mapping[str, ExamSet]) -> dict[str, dict[str, Any]]:
    items = [item for found in sets.values() for item in found.items]
    exam.run.tell(f"examining {exam.version.name}@{exam.version.version} on {len(items)} items")
    vectors, probes = fit_probes(exam, [*list_texts(items), *exam.rollouts["content"]])
    rewards: dict[str, Reward] = {MODEL: _reward_with(exam.model)} if exam.model else {}
    rewards |= {name: reward_with(weights, vectors) for name, weights in probes.items()}
    rewards[LONGEST] = reward_length
    results = {}
    for name, found in sets.items():
        result = _grade(exam, name, found, rewards)
        if name == HELD_OUT and result["n"]:
            stores = store_rollouts(exam.rollouts, rewards[exam.main])
            result["best_of"] = trace_best_of(stores, exam.seed)
            result["forecast"] = _forecast(exam, found.items, vectors)
        results[name] = result
    return results


def _grade(
    exam: Examination, name: str, found: ExamSet, rewards: Mapping[str, Reward]
) -> dict[str, Any]:
    """One set, by all examinees."""
    taken = {who: reward(found.items) for who, reward in rewards.items()}
    finite = [all(np.isfinite(r[i]).all() for r in taken.values()) for i in range(len(found.items))]
    items = [item for item, good in zip(found.items, finite, strict=True) if good]
    unscored = dict(found.unscored)
    if len(items) < len(found.items):
        unscored["a reward is no number"] = len(found.items) - len(items)
    result: dict[str, Any] = {
        **_head(exam, name, found), "main": exam.main, "n": len(items),
        "score": None, "ci": [None, None], "by_category": {}, "rows": {}, "unscored": unscored,
        "gates": found.name not in NEVER_A_GATE and (name != HELD_OUT or is_trusted(exam)),
        "cut": _count_cut(exam.model, items),
        "leaked": {"pairs": 0, "prompts": 0, "examples": [], "responses": 0},
    }  # fmt: skip
    if not items:
        return result
    kept = {
        who: [r for r, good in zip(values, finite, strict=True) if good]
        for who, values in taken.items()
    }
    learned = {one.name: {"pairs": len(one), "of": one.of} for one in exam.lessons}
    nothing = {"pairs": None, "of": None}
    for who, values in kept.items():
        whole = estimate(keep_ledger(found.name, items, values).tally(), exam.seed)
        result["rows"][who] = {**write_interval(whole), **learned.get(who, nothing)}
    result["rows"][COIN] = {**_toss(found.name, items), **nothing}
    own = kept[exam.main]
    compared = list_comparisons(items, own)
    result |= score_set(found.name, items, own, exam.seed)
    result["length"] = score_lengths(compared, exam.seed)
    result["calibration"] = measure_margins(compared)
    result["best_of"] = trace_best_of(store_items(items, own), exam.seed)
    if all(item.chains for item in items):
        result["views"] = score_views(items, own, rewards[exam.main], exam.seed)
    if name != HELD_OUT:
        result["leaked"] = find_leaks(keep_taught(exam.rows), found)
    return result


def _head(exam: Examination, name: str, found: ExamSet) -> dict[str, Any]:
    """What a result says of whose it is: the set as it was asked for, which no score depends on."""
    heading = make_heading(exam.sources) if name == HELD_OUT else f"accuracy on {name}"
    return {"set": name, "place": found.place, "heading": heading}


def _toss(name: str, items: Sequence[Item]) -> dict[str, Any]:
    """A coin, with the interval of what one coin would score."""
    score = keep_guesses(name, items).tally().score()
    half = 1.96 * np.sqrt(score * (1 - score) / len(items))
    return {"score": score, "ci": [max(0.0, score - half), min(1.0, score + half)]}


def _forecast(
    exam: Examination, items: Sequence[Item], vectors: dict[str, Array]
) -> dict[str, Any] | None:
    """What more labels would give the probe, on the held-out pairs."""
    if not exam.lessons:
        return None
    own = exam.lessons[0]
    apart = stack_differences(vectors, own)
    held = np.stack([vectors[i.responses[0]] - vectors[i.responses[1]] for i in items])
    sizes = choose_sizes(len(own))
    won = np.empty((ORDERS, len(sizes), len(items)))
    for order in range(ORDERS):
        places = np.random.default_rng([exam.seed, order]).permutation(len(own))
        for at, size in enumerate(sizes):
            exam.run.progress("forecast", order * len(sizes) + at + 1, ORDERS * len(sizes))
            weights = learn(apart[places[:size]])
            won[order, at] = win(np.round(held @ weights, 9), 0.0)
    return forecast(sizes, won, [item.prompt_key for item in items], own.of, exam.seed)


def _reward_with(model: TrainedModel) -> Reward:
    def reward(items: Sequence[Item]) -> list[Array]:
        if items and not model.is_there:
            raise ModelGone(
                f"{model.path}: model {model.model_id[:12]} was trained into this folder and is "
                f"not there any more; train it again with `assay train {model.name}@"
                f"{model.version} --out FOLDER`"
            )
        if not items:
            return []
        return score_responses(model.path, _ask(items), model.config["max_length"])[0]

    return reward


def _count_cut(model: TrainedModel | None, items: Sequence[Item]) -> int:
    if model is None or not items:
        return 0
    return count_cut(model.path, _ask(items), model.config["max_length"])


def _ask(items: Sequence[Item]) -> list[Question]:
    return [(item.prompt, item.responses) for item in items]


def _make_key(exam: Examination, found: ExamSet) -> str:
    asked = [found.name, found.content_hash, dict(found.unscored)]
    return make_id("grade", EXAMS_VERSION, exam.content, asked)


def _make_row(
    exam: Examination, key: str, name: str, found: ExamSet, result: Mapping[str, Any]
) -> dict[str, Any]:
    low, high = result["ci"]
    return {
        "grade_id": key,
        "name": exam.version.name,
        "version": exam.version.version,
        "model_id": exam.model.model_id if exam.model else None,
        "set_name": name,
        "set_hash": found.content_hash,
        "n": result["n"],
        "score": result["score"],
        "ci_low": low,
        "ci_high": high,
        "detail": json.dumps(result, ensure_ascii=False, allow_nan=False),
    }
