"""Reviews as tasks of the desk: blinded texts in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from annotators.templates import render_prompt
from pipelines.lake.catalogue import Lake

GUIDELINES = """
SELECT target AS prompt_id, arg_max(guideline, created_at) AS guideline FROM attributes
WHERE valid AND guideline IS NOT NULL AND target IN (SELECT prompt_id FROM wanted)
GROUP BY target
"""


def list_shown(review: dict[str, Any]) -> list[str]:
    """The ids of a review's responses in the order shown."""
    if review["responses"]:
        return list(review["responses"])
    if review["response_b"] is None:
        return [review["response_a"]]
    sides = ("a", "b") if review["left"] == "a" else ("b", "a")
    return [review[f"response_{side}"] for side in sides]


def find_texts(
    lake: Lake, reviews: pl.DataFrame, guideline_of: Callable[[str], str]
) -> dict[str, dict[str, Any]]:
    """prompt, guideline and responses (texts, in the order shown) by review_id; a review whose
    prompt or responses the lake does not have is not there.

    The guideline is what the attributes of the prompt say of it (not those of the pair, whose
    writer saw the responses), else the one of `guideline_of` its category.
    """
    shown = {row["review_id"]: list_shown(row) for row in reviews.iter_rows(named=True)}
    wanted = reviews.select("prompt_id").unique()
    prompts = lake.query(
        "SELECT prompt_id, messages, category, guideline FROM prompts "
        f"SEMI JOIN wanted USING (prompt_id) LEFT JOIN ({GUIDELINES}) USING (prompt_id)",
        wanted=wanted,
    )
    by_prompt = {row["prompt_id"]: row for row in prompts.iter_rows(named=True)}
    ids = pl.DataFrame(
        {"response_id": sorted({i for responses in shown.values() for i in responses})},
        schema={"response_id": pl.String},
    )
    contents = dict(
        lake.query(
            "SELECT response_id, content FROM responses SEMI JOIN ids USING (response_id)", ids=ids
        ).iter_rows()
    )
    texts = {}
    for review_id, prompt_id in reviews.select("review_id", "prompt_id").iter_rows():
        prompt = by_prompt.get(prompt_id)
        if prompt is None or any(i not in contents for i in shown[review_id]):
            continue
        texts[review_id] = {
            "prompt": render_prompt(prompt["messages"]),
            "guideline": prompt["guideline"] or guideline_of(prompt["category"]),
            "responses": [contents[i] for i in shown[review_id]],
        }
    return texts
