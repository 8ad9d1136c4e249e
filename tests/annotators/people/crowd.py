"""What tests of people share: frames of annotations, and simulated crowds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from annotators.people.annotations import NEEDED, OPTIONAL
from annotators.votes import LABELS

START = datetime(2026, 1, 5, 9)


def make_annotations(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Annotations with all columns, null where a row lacks one."""
    schema = {**dict.fromkeys(NEEDED, pl.String()), **OPTIONAL}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def say(said: Mapping[str, str], **more: Any) -> list[dict[str, Any]]:
    """Rows from one text an annotator, a letter an item: a, b, t for a tie, ? for cannot decide,
    - for no row. A minute apart."""
    words = {"a": "a", "b": "b", "t": "tie", "?": None}
    return [
        {"item": f"i{place:03d}", "annotator": annotator, "label": words[letter],
         "updated_at": START + timedelta(minutes=place), **more}
        for annotator, letters in said.items()
        for place, letter in enumerate(letters)
        if letter != "-"
    ]  # fmt: skip


def simulate(
    accuracies: Mapping[str, float], items: int, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Votes on all items by annotators who are right that often, else evenly wrong; and gold."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, items)
    names = [f"i{place:05d}" for place in range(items)]
    parts = []
    for annotator, accuracy in accuracies.items():
        wrong = (truth + generator.integers(1, 3, items)) % 3
        code = np.where(generator.random(items) < accuracy, truth, wrong)
        label = [LABELS[k] for k in code]
        parts.append(pl.DataFrame({"item": names, "annotator": annotator, "label": label}))
    return pl.concat(parts), pl.DataFrame({"item": names, "label": [LABELS[k] for k in truth]})
