"""A pool whose truth is planted: labels of which some are wrong, three judges who err together, and
gold on some of it; as recorded opinions, with vectors that are what the texts say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.recipe import Recipe, parse_recipe

DIMENSIONS = 6


@dataclass(frozen=True)
class PlantedPool:
    """`apart` (pairs, dimensions) of the first response less the second; whether the first is
    better; what the label says; and what the judges say: (pairs, judges)."""

    apart: NDArray[np.float64]
    truth: NDArray[np.bool_]
    label: NDArray[np.bool_]
    said: NDArray[np.float64]


def plant_pool(
    pairs: int = 400, *, noise: float = 0.25, accuracy: float = 0.8, judges: int = 3, seed: int = 0
) -> PlantedPool:
    generator = np.random.default_rng(seed)
    apart = generator.normal(size=(pairs, DIMENSIONS)) * 0.5
    weights = np.linspace(2, 6, DIMENSIONS) * np.where(np.arange(DIMENSIONS) % 2, 1, -1)
    truth = apart @ weights + generator.logistic(size=pairs) * 0.5 > 0
    label = truth ^ (generator.random(pairs) < noise)
    shared = generator.random(pairs)
    own = generator.random((pairs, judges))
    luck = np.where(generator.random((pairs, judges)) < 0.3, shared[:, None], own)
    said = np.where(luck < accuracy, truth[:, None], ~truth[:, None]).astype(float)
    return PlantedPool(apart, truth, label, said)


def write_pool(
    file: Path,
    pool: PlantedPool,
    *,
    gold: int = 120,
    categories: tuple[str, ...] = ("code", "chat"),
    first: int = 0,
    worths: bool = False,
) -> Path:
    """The pool as recorded opinions, gold on its first `gold` pairs. `first` numbers the prompts,
    so that two pools share none. With `worths` the responses say what they are worth as the first
    judge has it (see `tests.stub_judge`), and no judge has said anything yet."""
    lines: list[dict[str, Any]] = []
    for at in range(len(pool.truth)):
        one, two = (6, 4) if worths and pool.said[at, 0] > 0.5 else (4, 6)
        common = {
            "prompt": f"{name_prompt(first + at)}?",
            "category": categories[at % len(categories)],
            "response_a": (f"worth {one}\n" if worths else "") + _write(pool.apart[at]),
            "response_b": (f"worth {two}\n" if worths else "") + " ".join(["0"] * DIMENSIONS),
        }
        lines.append({**common, "annotator": "crowd", "kind": "import",
                      "p_a": float(pool.label[at])})  # fmt: skip
        for place, p in enumerate([] if worths else pool.said[at]):
            lines.append({**common, "annotator": f"judge-{place}", "kind": "llm", "p_a": float(p)})
        if at < gold:
            lines.append({**common, "annotator": "experts", "kind": "human", "gold": True,
                          "p_a": float(pool.truth[at])})  # fmt: skip
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def name_prompt(number: int) -> str:
    """A prompt that is near no other one."""
    generator = np.random.default_rng([number, 9])
    return " ".join("".join(generator.choice(list("abcdefghij"), 6)) for _ in range(8))


def make_pool_recipe(file: Path, **changes: Any) -> Recipe:
    source = {"path": str(file), "name": "pool", "layout": "judgments", "licence": "MIT"}
    content = {
        "name": "curated",
        "prompts": {"imports": [source]},
        "loop": {},
        "label": {"policy": "gold_loop", "threshold": 0.75},
        "split": {"test": 0.25},
        "train": None,
    }
    return parse_recipe({**content, **changes})


def use_numbers(patch: pytest.MonkeyPatch) -> None:
    """Let vectors be what the texts say, and nothing heavy be loaded for them."""
    patch.setattr("pipelines.lake.vectors.embed_texts", embed_planted)
    patch.setattr("pipelines.lake.vectors.choose_precision", lambda: "float32")


def embed_planted(texts: Sequence[str], model: str, **_: Any) -> NDArray[np.float32]:
    """The numbers in the last line of each text; of a text without, a direction of its own."""
    rows = []
    for text in texts:
        try:
            rows.append([float(word) for word in text.splitlines()[-1].split()])
        except ValueError:
            row = np.random.default_rng(list(text.encode()[-40:])).normal(size=DIMENSIONS)
            rows.append(list(row / np.linalg.norm(row)))
    return np.array(rows, dtype=np.float32)


def _write(x: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6f}" for value in x)
