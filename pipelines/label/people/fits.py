"""A fit of prototypes as the lake keeps it: under `prototypes:ID` in `lake_meta`, as JSON. The id
follows from the opinions and the settings, so the same opinions are fitted once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from annotators.people.mixture import Prior
from annotators.people.prototypes import POOL, Prototypes
from engines.embedder import MINILM, name_embedder
from pipelines.lake.catalogue import Lake, PastLake
from schemas.ids import make_id
from schemas.recipe import PrototypeSpec, Recipe

KEY = "prototypes:"
RULES = 1
FRAMES = ("members", "trials", "cards")


@dataclass(frozen=True, eq=False)
class Fit:
    """`found`, from how many `opinions` on how many `pairs`; how well a newcomer is known by what
    was seen of them (`newcomers`, see `annotators.people.newcomers`; None where people are too
    few); and whether only imported pools spoke (`of_pool`)."""

    fit_id: str
    found: Prototypes
    newcomers: pl.DataFrame | None
    opinions: int
    pairs: int
    of_pool: bool

    @property
    def people(self) -> dict[str, int]:
        """Annotators by prototype, the pool among them where small ones were merged into it."""
        return dict(self.found.cards.select("prototype", "annotators").iter_rows())

    @property
    def differ(self) -> bool:
        """Whether there is any prototype beside the pool."""
        return self.found.names != (POOL,)

    def name_annotator(self, prototype: str) -> str:
        """What a prototype is called in `annotators` of a label."""
        return f"prototype:{self.fit_id[:8]}:{prototype}"


def name_fit(recipe: Recipe, spec: PrototypeSpec, voices: pl.DataFrame) -> str:
    """The id of the fit of these opinions (of `voices.find_voices`), the exam's left out."""
    taught = voices.filter(~pl.col("exam")).drop("exam")
    said = [f"{a}:{b}:{who}:{p!r}" for who, _, a, b, p in taught.iter_rows()]
    config = [name_embedder(MINILM), spec.most, spec.least, recipe.seed]
    return make_id("prototypes", RULES, config, sorted(said))


def read_fit(lake: Lake | PastLake, fit_id: str) -> Fit | None:
    """The fit of that id; None of one that was never made."""
    rows = lake.query("SELECT value FROM lake_meta WHERE key = ?", [KEY + fit_id])
    if rows.is_empty():
        return None
    stored = json.loads(rows["value"][0])
    frames = {name: _make_frame(stored[name], SCHEMAS[name]) for name in FRAMES}
    found = Prototypes(
        names=tuple(stored["names"]),
        merged=tuple(stored["merged"]),
        prior=Prior(**stored["prior"]),
        **{name: np.array(stored[name], dtype=np.float64)
           for name in ("weights", "shares", "pool", "memberships")},
        **frames,
    )  # fmt: skip
    newcomers = stored["newcomers"]
    return Fit(
        fit_id,
        found,
        None if newcomers is None else _make_frame(newcomers, SCHEMAS["newcomers"]),
        stored["opinions"],
        stored["pairs"],
        stored["of_pool"],
    )


def write_fit(fit: Fit) -> dict[str, str]:
    """The row of `lake_meta`."""
    found = fit.found
    content: dict[str, Any] = {
        "names": found.names,
        "merged": found.merged,
        "prior": {"pool": found.prior.pool, "apart": found.prior.apart},
        **{name: getattr(found, name).tolist()
           for name in ("weights", "shares", "pool", "memberships")},
        **{name: getattr(found, name).to_dicts() for name in FRAMES},
        "newcomers": None if fit.newcomers is None else fit.newcomers.to_dicts(),
        "opinions": fit.opinions,
        "pairs": fit.pairs,
        "of_pool": fit.of_pool,
    }  # fmt: skip
    return {"key": KEY + fit.fit_id, "value": json.dumps(content, ensure_ascii=False)}


def _name_floats(names: Iterable[str]) -> dict[str, Any]:
    return dict.fromkeys(names, pl.Float64)


SCHEMAS: dict[str, dict[str, Any]] = {
    "members": {"annotator": pl.String, "prototype": pl.String, "probability": pl.Float64,
                "opinions": pl.Int64},
    "trials": {"k": pl.Int64, **_name_floats(
        ("log_likelihood", "gain", "gain_error", "accuracy", "merged"))},
    "cards": {"prototype": pl.String, "annotators": pl.Int64, "opinions": pl.Int64, **_name_floats(
        ("accuracy", "accuracy_low", "accuracy_high", "pool_accuracy"))},
    "newcomers": {"seen": pl.Int64, "annotators": pl.Int64, "opinions": pl.Int64, **_name_floats(
        ("log_likelihood", "accuracy", "pool_accuracy"))},
}  # fmt: skip


def _make_frame(rows: list[dict[str, Any]], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema)
