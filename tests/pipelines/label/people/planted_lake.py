"""A lake of planted people: two groups of opposed tastes, whose texts are their vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.prototypes import Planted
from pipelines.ship.publish import Published, publish_version
from pipelines.steps import open_work, settle
from schemas.recipe import Recipe, parse_recipe

NEW = 100  # pairs that nobody of the planted people judged, for each group


def embed_numbers(texts: Sequence[str], model: str = "minilm") -> NDArray[np.float32]:
    """The numbers in the last line of each text."""
    rows = [[float(word) for word in text.splitlines()[-1].split()] for text in texts]
    return np.array(rows, dtype=np.float32)


def write_opinions(planted: Planted, file: Path) -> None:
    """Everybody's opinions on their own pairs, and `NEW` pairs of the first and of the last
    person, of which only a machine has said anything (that the numbers are better)."""
    lines: list[dict[str, Any]] = []
    for who, (pairs, said) in enumerate(zip(planted.x, planted.y, strict=True)):
        for at, (x, y) in enumerate(zip(pairs, said, strict=True)):
            lines.append(_make_line(f"{who}-{at}", x, f"u{who:02d}", "human", y))
    for who in (0, len(planted.x) - 1):
        for at, x in enumerate(planted.new[who, :NEW]):
            lines.append(_make_line(f"new-{who}-{at}", x, "machine", "import", 1.0))
    file.write_text("\n".join(json.dumps(line) for line in lines))


def make_planted_recipe(file: Path, **changes: Any) -> Recipe:
    source = {"path": str(file), "name": "planted", "layout": "judgments", "licence": "MIT"}
    content = {
        "name": "planted",
        "prompts": {"imports": [source]},
        "label": {"policy": "imported"},
        "review": {"prototypes": {}},
        "split": {"test": 0.1},
        "train": None,
    }
    return parse_recipe({**content, **changes})


def publish(url: Path, recipe: Recipe) -> Published:
    """The version of what the recipe labels today."""
    with open_work(str(url), recipe, None) as work:
        return publish_version(work.lake, work.run, work.look(), settle(work))


def find_new(pairs: pl.DataFrame, responses: pl.DataFrame, planted: Planted, who: int) -> list[Any]:
    """(pair_id, whether this person would take response_a) of the new pairs of `who`."""
    texts = dict(responses.select("response_id", "content").iter_rows())
    truth = {
        _write(x): bool(side)
        for x, side in zip(planted.new[who, :NEW], planted.truth[who, :NEW], strict=True)
    }
    found = []
    for pair_id, a, b in pairs.select("pair_id", "response_a", "response_b").iter_rows():
        if texts[a] in truth:
            found.append((pair_id, truth[texts[a]]))
        elif texts[b] in truth:
            found.append((pair_id, not truth[texts[b]]))
    return found


def _make_line(
    name: str, x: NDArray[np.float64], annotator: str, kind: str, y: float
) -> dict[str, Any]:
    zeros = " ".join(["0"] * len(x))
    return {"annotator": annotator, "kind": kind, "prompt": f"Question {name}?",
            "response_a": _write(x), "response_b": zeros, "p_a": float(y)}  # fmt: skip


def _write(x: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6f}" for value in x)
