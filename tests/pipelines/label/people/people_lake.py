"""A lake of pairs that wait for people, a fake desk, and people whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.label.people.assessing import assess_batches
from pipelines.label.people.choosing import Candidate
from pipelines.label.people.pulling import pull_reviews
from pipelines.label.people.resolving import find_answers
from pipelines.label.people.reviews import find_reviews
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.ids import make_id, make_pair_id, make_prompt_id, make_response_id
from schemas.recipe import ReviewSpec
from tests.pipelines.label.people.fake_desk import FakeDesk

TWO = ReviewSpec(overlap=2, min_alpha=-1)
CATEGORIES = ("advice", "coding", "opinion")


def make_pair(number: int) -> dict[str, Any]:
    """Prompt `number` with two responses, of which the one that says "good" is better."""
    messages = [{"role": "user", "content": f"Question {number}?"}]
    prompt_id = make_prompt_id(messages)
    texts = [f"A good answer to {number}.", f"A bad answer to {number}."]
    ids = [make_response_id(prompt_id, text) for text in texts]
    first, second = sorted(ids)
    return {
        "messages": messages,
        "prompt_id": prompt_id,
        "responses": dict(zip(ids, texts, strict=True)),
        "response_a": first,
        "response_b": second,
        "pair_id": make_pair_id(prompt_id, first, second),
        "better": "a" if first == ids[0] else "b",
    }


def fill_lake(lake: Lake, pairs: int, gold: int = 0, clusters: bool = True) -> list[dict[str, Any]]:
    """`pairs` queued pairs, and `gold` others whose better side is recorded."""
    made = [make_pair(number) for number in range(pairs + gold)]
    prompts = [
        {"prompt_id": pair["prompt_id"], "messages": pair["messages"],
         "category": CATEGORIES[place % len(CATEGORIES)], "source": "test", "licence": "mit"}
        for place, pair in enumerate(made)
    ]  # fmt: skip
    responses = [
        {"response_id": key, "prompt_id": pair["prompt_id"], "content": text}
        for pair in made
        for key, text in pair["responses"].items()
    ]
    sides = ("prompt_id", "response_a", "response_b")
    reviews = [
        {**{key: pair[key] for key in (*sides, "pair_id")},
         "review_id": make_id("review", pair["pair_id"], "preference"), "status": "queued",
         "reason": "below_threshold", "left": "a", "question": "preference", "role": "work",
         "gain": 1.0, "why": json.dumps({"worth": 1.0})}
        for pair in made[:pairs]
    ]  # fmt: skip
    judgments = [
        {**{key: pair[key] for key in sides}, "judgment_id": f"gold-{place}", "kind": "human",
         "annotator": "import:pool/people", "p_a": float(pair["better"] == "a"), "tie": False,
         "valid": True, "sample_index": 0, "gold": True}
        for place, pair in enumerate(made[pairs:])
    ]  # fmt: skip
    lake.append(
        {"prompts": prompts, "responses": responses, "reviews": reviews, "judgments": judgments},
        run=new_run(),
        stage="test",
    )
    return made


@contextmanager
def open_desk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> Iterator[tuple[Lake, FakeDesk]]:
    """An empty lake, and a fake desk that pushes and pulls speak to."""
    desk = FakeDesk(folder / "desk.sqlite", **settings)
    for module in ("pushing", "pulling"):
        monkeypatch.setattr(f"pipelines.label.people.{module}.at_desk", desk)
    with open_lake(folder / "lake") as lake:
        yield lake, desk


def answer_as(desk: FakeDesk, lake: Lake, review: dict[str, Any], person: str, side: str) -> int:
    """The person prefers `side` (`a`, `b`, `tie`, or None for "cannot decide")."""
    if side is None:
        return desk.submit(review["review_id"], person, choice=None, undecided=True)
    if side == "tie":
        return desk.submit(review["review_id"], person, choice="tie", strength=0)
    choice = "left" if side == review["left"] else "right"
    return desk.submit(review["review_id"], person, choice=choice, strength=1)


def list_pushed(lake: Lake, role: str | None = None) -> list[dict[str, Any]]:
    """The reviews that are shown at the desk, by id."""
    shown = find_reviews(lake, "project_id IS NOT NULL AND status IN ('pushed', 'answered')")
    return [row for row in shown.to_dicts() if role in (None, row["role"])]


__all__ = ["Candidate", "answer_as", "fill_lake", "list_pushed", "make_pair", "open_desk"]


def pull(lake: Lake, desk: Any, spec: ReviewSpec = TWO, **settings: Any) -> tuple[Any, list[str]]:
    """A pull and what follows from it; gives its summary and what people were told."""
    told: list[str] = []
    summary = pull_reviews(lake, new_run(tell=told.append), desk, **settings)
    assess_batches(lake, new_run(), spec)
    return summary, told


def list_counted(lake: Lake) -> list[tuple[Any, ...]]:
    """The answers that stand and count: annotation, p_a."""
    counted = find_answers(lake).filter(pl.col("set_aside").is_null() & pl.col("valid"))
    return sorted(counted.select("annotation", "p_a").iter_rows())


def find_batch_id(lake: Lake) -> str:
    return str(lake.query("FROM batches ORDER BY created_at")["batch_id"][0])
