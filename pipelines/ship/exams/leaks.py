"""Exam prompts and responses that a version holds: what was trained on examines nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from pipelines.clean.contamination import References, find_copies, gather_references
from pipelines.clean.decontaminate import list_texts
from pipelines.clean.evaluation_sets import EvaluationSet
from pipelines.clean.texts import normalise
from pipelines.ship.exams.items import ExamSet, Item
from pipelines.ship.exams.lessons import frame_train
from pipelines.ship.export import SPLIT_OF


def find_leaks(rows: pl.DataFrame, found: ExamSet) -> dict[str, Any]:
    """The prompts of an exam that are, word for word, prompts of a version, or messages of them
    (`pipelines.clean.contamination`, method exact); and the items of which every response is one
    that the version prefers or rejects (the same as duplicates are, `pipelines.clean.texts`): a
    small probe, which sees no prompt, has learned those.

    Args:
        rows: of the version (see `pipelines.ship.export.make_rows`), those of its train side.

    Returns:
        pairs: how many of the rows repeat one; prompts: how many of the set's are repeated;
        examples: the keys of the first of these items; responses: how many items have nothing but
        responses of the version.
    """
    texts: dict[str, str] = {}
    for item in found.items:
        texts.setdefault(_ask(item), item.key)
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
        "responses": _count_learned(rows, found),
    }


def gather_taught(versions: Sequence[pl.DataFrame]) -> References:
    """The prompts that versions teach, as `find_leaks` looks for them: whole, and each message.

    Args:
        versions: rows of each, as `find_leaks` takes them.
    """
    held = pl.concat(
        [list_texts(rows.select(prompt_id="pair_id", messages="prompt")) for rows in versions]
    )
    texts = tuple(held["text"])
    return gather_references([EvaluationSet("", "", tuple(held["item"]), texts, {}, "")])


def drop_taught(found: ExamSet, taught: References) -> ExamSet:
    """The set without the items whose prompts are among those taught (`gather_taught`)."""
    asked = pl.Series([_ask(item) for item in found.items], dtype=pl.String)
    hit = set(find_copies(asked, taught, {"exact": 1.0})["item"])
    kept = [item for place, item in enumerate(found.items) if place not in hit]
    return replace(found, items=tuple(kept))


def keep_taught(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a version's train side."""
    train = [split for split, side in SPLIT_OF.items() if side == "train"]
    return rows.filter(pl.col("split").is_in(train))


def _ask(item: Item) -> str:
    return "\n".join(message["content"] for message in item.prompt)


def _count_learned(rows: pl.DataFrame, found: ExamSet) -> int:
    learned = frame_train(rows)
    taught = set(_fold([*learned["chosen"], *learned["rejected"]]))
    texts = [text for item in found.items for text in item.responses]
    folded = dict(zip(texts, _fold(texts), strict=True))
    return sum(all(folded[text] in taught for text in item.responses) for item in found.items)


def _fold(texts: Sequence[str]) -> list[str]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    folded: list[str] = frame.select(normalise(pl.col("text")))["text"].to_list()
    return folded
