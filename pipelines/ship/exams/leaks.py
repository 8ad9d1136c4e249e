"""Exam prompts that a version holds: what was trained on examines nothing."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.clean.contamination import find_copies, gather_references
from pipelines.clean.decontaminate import list_texts
from pipelines.clean.evaluation_sets import EvaluationSet
from pipelines.ship.exams.items import ExamSet


def find_leaks(rows: pl.DataFrame, found: ExamSet) -> dict[str, Any]:
    """The prompts of an exam that are, word for word, prompts of a version, or messages of them
    (`pipelines.clean.contamination`, method exact).

    Args:
        rows: of the version (see `pipelines.ship.export.make_rows`), those of its train side.

    Returns:
        pairs: how many of the rows repeat one; prompts: how many of the set's are repeated;
        examples: the keys of the first of these items.
    """
    texts: dict[str, str] = {}
    for item in found.items:
        texts.setdefault("\n".join(message["content"] for message in item.prompt), item.key)
    asked = EvaluationSet(
        found.name, found.place, tuple(texts.values()), tuple(texts), {}, found.content_hash
    )
    held = list_texts(rows.select(prompt_id="pair_id", messages="prompt"))
    hits = find_copies(held["text"], gather_references([asked]), {"exact": 1.0})
    hit = hits["row"].unique().sort().to_list()
    return {
        "pairs": held["item"].gather(hits["item"]).n_unique() if len(hits) else 0,
        "prompts": len(hit),
        "examples": hit[:5],
    }
