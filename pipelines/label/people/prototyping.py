"""Prototypes as a stage: the opinions of persons, the vectors of their pairs, and one fit of them.

The fit labels nothing by itself: what it says of pairs is a view (`pipelines.label.people.tastes`).
It is made once for the same opinions and settings, and stands in the lake (`fits`).
"""

from __future__ import annotations

from typing import Any

import polars as pl

from annotators.people.newcomers import SEEN, trace_newcomers
from annotators.people.prototypes import Prototypes, fit_prototypes
from pipelines.label.people.fits import Fit, name_fit, read_fit, write_fit
from pipelines.label.people.voices import PAIR, list_texts
from pipelines.label.sides import compare_sides
from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import Decided, decide_stage, make_scope
from pipelines.lake.run import Run, StageSummary
from pipelines.lake.vectors import embed_missing
from schemas.recipe import PrototypeSpec, Recipe

STAGE = "prototypes"
RULES = 1
ENOUGH_NEWCOMERS = 25  # people, five in each fifth that is left out in turn


def fit_people(
    lake: Lake, run: Run, recipe: Recipe, voices: pl.DataFrame, pairs: pl.DataFrame
) -> StageSummary:
    """Fit the prototypes of who said `voices`, and embed `pairs`, so that it is known what the
    prototypes say of these. `rows_in` counts the pairs.

    Args:
        voices: of `pipelines.label.people.voices.find_voices`.
        pairs: the candidate pairs of the recipe.

    Raises:
        engines.embedder.EmbedderMissing: there is nothing to embed with.
    """
    spec = recipe.review.prototypes or PrototypeSpec()
    fit_id = name_fit(recipe, spec, voices)
    taught = voices.filter(~pl.col("exam"))

    def compute() -> Decided:
        wanted = pl.concat([taught.select(PAIR), pairs.select(PAIR)]).unique()
        texts = list_texts(lake, wanted)
        made = embed_missing(lake, run, STAGE, [*texts["text_a"], *texts["text_b"]])
        fit = read_fit(lake, fit_id)
        rows = []
        if fit is None and len(taught):
            run.tell(f"{len(taught)} opinions of {taught['annotator'].n_unique()} people: fitting")
            fit = _make_fit(lake, fit_id, taught, spec, recipe.seed)
            rows.append(write_fit(fit))
        people = fit.people if fit else {}
        extra: dict[str, Any] = {"embedded": made, "opinions": len(taught), "people": people}
        return Decided([], tables={"lake_meta": rows} if rows else {}, extra=extra)

    return decide_stage(
        lake,
        run,
        stage=STAGE,
        scope=make_prototype_scope(recipe, voices, pairs),
        rows_in=len(pairs),
        compute=compute,
    )


def make_prototype_scope(recipe: Recipe, voices: pl.DataFrame, pairs: pl.DataFrame) -> str:
    """The scope of a fit, and of the pairs whose vectors it needs."""
    spec = recipe.review.prototypes or PrototypeSpec()
    return make_scope(STAGE, RULES, name_fit(recipe, spec, voices), pairs["pair_id"])


def _make_fit(lake: Lake, fit_id: str, voices: pl.DataFrame, spec: PrototypeSpec, seed: int) -> Fit:
    pairs, vectors = compare_sides(lake, voices.select(PAIR).unique())
    placed = voices.join(pairs.with_row_index("at"), on=PAIR).sort("at", "annotator")
    opinions = (
        vectors[placed["at"].to_numpy()],
        placed["p_a"].to_numpy(),
        placed["annotator"].to_list(),
        [f"{a}:{b}" for a, b in placed.select("response_a", "response_b").iter_rows()],
    )
    found = fit_prototypes(*opinions, most=spec.most, least=spec.least, seed=seed)
    return Fit(
        fit_id,
        found,
        _trace(found, opinions, spec.least, seed),
        opinions=len(placed),
        pairs=len(pairs),
        of_pool=bool(placed["annotator"].str.starts_with("import:").all()),
    )


def _trace(
    found: Prototypes, opinions: tuple[Any, ...], least: int, seed: int
) -> pl.DataFrame | None:
    """The curve of newcomers, as far as there are `ENOUGH_NEWCOMERS` who have said so much; None
    where people do not differ or are too few."""
    counts = found.members["opinions"] * 0.8  # of these a fifth is predicted
    seen = [n for n in SEEN if (counts >= n).sum() >= ENOUGH_NEWCOMERS]
    if len(found.names) == 1 or len(seen) < 2:
        return None
    curve = trace_newcomers(
        *opinions, k=len(found.names), prior=found.prior, least=least, seen=seen, seed=seed
    )
    return curve if curve["annotators"][0] >= ENOUGH_NEWCOMERS else None
