"""What each source is worth: the exam's small probe, taught with it and without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from annotators.marginal import bootstrap_means, value_parts
from pipelines.ship.exams.examination import Examination, is_trusted
from pipelines.ship.exams.lessons import frame_train
from pipelines.ship.exams.probing import LEAST_TAUGHT, draw_lessons, embed

LEAST_EXAM = 20  # pairs
LEAST_PROMPTS = 10


def value_sources(exam: Examination) -> dict[str, Any]:
    """The marginal value of each source of a version, on its held-out pairs.

    Returns:
        n, prompts (of the exam), taught (pairs that the probe of everything learned from), of (how
        many there were), score and ci of that probe; sources {source: a row of
        `annotators.marginal.value_parts`, with `notes`}; needed: None, or what there must be before
        any of it can be said, and then the rest is empty.
    """
    name = f"{exam.version.name}@{exam.version.version}"
    items = exam.held_out.items if is_trusted(exam) else ()
    prompts = {item.prompt_key for item in items}
    train = frame_train(exam.rows)
    taught = draw_lessons(train, exam.seed)
    found: dict[str, Any] = {
        "n": len(items), "prompts": len(prompts), "taught": len(taught), "of": len(train),
        "score": None, "ci": [None, None], "sources": {}, "needed": None,
    }  # fmt: skip
    if len(items) < LEAST_EXAM or len(prompts) < LEAST_PROMPTS:
        found["needed"] = (
            f"{name} has {len(items)} held-out pairs of {len(prompts)} prompts whose labels people "
            f"or verifiers decided, and what a source is worth shows on {LEAST_EXAM} of "
            f"{LEAST_PROMPTS} prompts at least (some hundreds for a narrow interval): have people "
            "label pairs of the test side, or import gold, and publish again"
        )
    elif len(taught) < LEAST_TAUGHT:
        found["needed"] = (
            f"{name} has {len(taught)} pairs to learn from, and a probe takes {LEAST_TAUGHT}"
        )
    if found["needed"]:
        return found
    texts = [text for item in items for text in item.responses]
    vectors = embed(exam.lake, exam.run, [*taught["chosen"], *taught["rejected"], *texts])
    apart = np.stack(
        [vectors[a] - vectors[b] for a, b in taught.select("chosen", "rejected").rows()]
    )
    held = np.stack([vectors[i.responses[0]] - vectors[i.responses[1]] for i in items])
    clusters = [item.prompt_key for item in items]
    exam.run.tell(
        f"sources: {taught['source'].n_unique()} left out in turn, {len(items)} exam pairs"
    )
    frame, right = value_parts(apart, taught["source"].to_list(), held, clusters, seed=exam.seed)
    score, low, high = bootstrap_means(right[None], clusters, exam.seed)
    examined = {item.category for item in items}
    found |= {"score": float(score[0]), "ci": [max(0.0, float(low[0])), min(1.0, float(high[0]))]}
    found["sources"] = {
        row["part"]: {**row, "notes": note_source(exam.rows, row["part"], examined)}
        for row in frame.iter_rows(named=True)
    }
    return found


def note_source(rows: pl.DataFrame, source: str, examined: set[str]) -> list[str]:
    """What a reader of a source's value must know.

    Args:
        rows: source and category of a version's pairs.
        examined: the categories that the exam has gold of.
    """
    categories = sorted(set(rows.filter(source=source)["category"]))
    notes = []
    if not examined.intersection(categories):
        notes.append(
            f"the exam has no pair of {' or '.join(categories)}, all that it is about: its value "
            "shows only as far as it teaches about other categories"
        )
    elif len(categories) == 1 and len(examined) > 1:
        notes.append(f"all of it is of {categories[0]}")
    return notes
