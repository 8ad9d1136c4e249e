"""What prototypes say of pairs, and what follows for labels: controversy is routed, not averaged
away.

Prototypes part on a pair where two of them are each as sure of it as a label must be
(`label.threshold`) and take different sides. The label of everybody together would then be
nobody's: such a pair goes to people instead, unless the recipe says `parted: label`. What a
verifier or recorded gold decides is no matter of taste and stays.

The labels of one prototype (`label.prototype`) are a view over the same judgments: a pair that
neither a verifier nor recorded gold decides has the side that the prototype is sure enough of.

How sure it is: p is the chance that one of its people says A, by its model; where at least as many
of them as a prototype must have were asked of that very pair, the mean of what these said, with the
model as one voice more. So no few persons' word shows through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from annotators.people.mixture import Array
from annotators.people.prototypes import LEAST, POOL, predict
from pipelines.label.people.fits import Fit, name_fit, read_fit
from pipelines.label.policies import DIGITS, measure_entropy
from pipelines.label.sides import compare_sides
from pipelines.lake.catalogue import Lake, PastLake
from schemas.errors import AssayError
from schemas.recipe import PrototypeSpec, Recipe

PARTED = "prototypes_part"
DECIDED_BY = "prototype"
NO_TASTE = ("verifier", "gold")


class PrototypeUnknown(AssayError):
    """The labels of a prototype are wanted that there is not, or that holds too few people."""


@dataclass(frozen=True, eq=False)
class Tastes:
    """`said`: pair_id, p_<name> for each prototype, p_pool (everybody, by one model), each the p
    that response_a is better; torn (how sure the less sure is of the two prototypes that are surest
    of either side), parted, and why. Pairs without vectors have no row."""

    fit: Fit
    said: pl.DataFrame


def find_tastes(
    lake: Lake | PastLake, recipe: Recipe, voices: pl.DataFrame, pairs: pl.DataFrame
) -> Tastes | None:
    """What the prototypes of who said `voices` say of `pairs`; None where they were not fitted."""
    spec = recipe.review.prototypes or PrototypeSpec()
    fit = read_fit(lake, name_fit(recipe, spec, voices))
    if fit is None:
        return None
    keys = ["pair_id", "prompt_id", "response_a", "response_b"]
    known, vectors = compare_sides(lake, pairs.select(keys))
    found = fit.found
    if not len(known):
        vectors = np.zeros((0, found.weights.shape[1]))
    p = np.column_stack([predict(found, vectors), expit(vectors @ found.pool)])
    p = np.round(_hear(known, voices, fit, p, spec.least), DIGITS)
    columns = {f"p_{name}": p[:, at] for at, name in enumerate(found.names) if name != POOL}
    own = list(columns)
    said = known.select("pair_id").with_columns(
        *(pl.Series(name, values) for name, values in columns.items()),
        pl.Series(f"p_{POOL}", p[:, -1]),
    )
    most, least = (f(own) if own else pl.lit(0.5) for f in (pl.max_horizontal, pl.min_horizontal))
    said = said.with_columns(torn=pl.min_horizontal(most, 1 - least).round(DIGITS))
    said = said.with_columns(parted=pl.col("torn") >= recipe.label.threshold)
    why = [_explain(row, own, fit.people) if row["parted"] else None for row in said.to_dicts()]
    return Tastes(fit, said.with_columns(why=pl.Series(why, dtype=pl.String)))


def _hear(pairs: pl.DataFrame, voices: pl.DataFrame, fit: Fit, p: Array, least: int) -> Array:
    """`p` (pairs, prototypes and everybody) with what at least `least` of their people said."""
    found = fit.found
    names = found.members["annotator"]
    heard = voices.join(pairs.with_row_index("at"), on=["response_a", "response_b"]).join(
        pl.DataFrame({"annotator": names}).with_row_index("who"), on="annotator"
    )
    at, who, y = (heard[name].to_numpy() for name in ("at", "who", "p_a"))
    likeliest = np.eye(len(found.names))[found.memberships.argmax(axis=1)]
    everybody = np.ones((len(names), 1))
    weights, members = (
        np.hstack([part, everybody])[who] for part in (found.memberships, likeliest)
    )
    total, wins, asked = (np.zeros(p.shape) for _ in range(3))
    np.add.at(total, at, weights)
    np.add.at(wins, at, weights * y[:, None])
    np.add.at(asked, at, members)
    return np.where(asked >= least, (p + wins) / (1 + total), p)


def heed_tastes(labels: pl.DataFrame, tastes: Tastes | None, recipe: Recipe) -> pl.DataFrame:
    """The labels (`pipelines.label.policies`) as the recipe would have them: without those on which
    prototypes part, or with those of one prototype.

    Raises:
        PrototypeUnknown: see there.
    """
    name = recipe.label.prototype
    if name is not None:
        return _speak_for(labels, _find_fitted(tastes, name), name, recipe.label.threshold)
    if tastes is None or recipe.review.prototypes is None:
        return labels
    if recipe.review.prototypes.parted == "label":
        return labels
    parted = tastes.said.filter("parted").select("pair_id", mean="p_pool", is_parted=True)
    return _rewrite(
        labels.join(parted, on="pair_id", how="left"),
        pl.col("is_parted").fill_null(False) & (pl.col("status") == "labelled")
        & ~pl.col("decided_by").is_in(NO_TASTE),
        {"status": pl.lit("to_review"), "p_a": pl.col("mean"), "reason": pl.lit(PARTED)},
        labels,
    )  # fmt: skip


def require_tastes(tastes: Tastes | None, name: str) -> Tastes:
    """The tastes of the recipe of that name after its prototypes were fitted.

    Raises:
        PrototypeUnknown: nobody has said anything that they could be fitted to.
    """
    if tastes is None:
        raise PrototypeUnknown(
            f"{name}: no person has judged a pair here. Name an imported pool of which people are "
            "known by name under prompts.imports, or ask people (assay review push) and release "
            "what they said (assay review release)"
        )
    return tastes


def _speak_for(labels: pl.DataFrame, tastes: Tastes, name: str, threshold: float) -> pl.DataFrame:
    p = pl.col("own")
    sure = pl.max_horizontal(p, 1 - p) >= threshold
    annotator = pl.lit([tastes.fit.name_annotator(name)], dtype=pl.List(pl.String))
    tier = "candidate" if tastes.fit.of_pool else "silver"
    settled = pl.col("decided_by").is_in(NO_TASTE).fill_null(False)
    return _rewrite(
        labels.join(tastes.said.select("pair_id", own=f"p_{name}"), on="pair_id", how="left"),
        ~settled & (pl.col("status") != "discarded"),
        {
            "status": pl.when(sure).then(pl.lit("labelled")).otherwise(pl.lit("to_review")),
            "p_a": p,
            "tier": pl.when(sure).then(pl.lit(tier)),
            "decided_by": pl.when(sure).then(pl.lit(DECIDED_BY)),
            "annotators": pl.when(sure).then(annotator),
            "reason": pl.when(p.is_null()).then(pl.lit("no_opinion"))
            .when(~sure).then(pl.lit("below_threshold")),
        },
        labels,
    )  # fmt: skip


def _rewrite(
    joined: pl.DataFrame, where: pl.Expr, changes: dict[str, pl.Expr], labels: pl.DataFrame
) -> pl.DataFrame:
    """The labels with `changes` where it says so; what is not named of a label is then null."""
    whole: dict[str, Any] = {
        name: pl.lit(None, labels.schema[name])
        for name in ("p_a", "agreement", "tier", "decided_by", "annotators", "reason")
    }
    whole |= {**changes, "entropy": measure_entropy(changes["p_a"])}
    return joined.with_columns(
        pl.when(where).then(value).otherwise(name).alias(name) for name, value in whole.items()
    ).select(labels.columns)


def _find_fitted(tastes: Tastes | None, name: str) -> Tastes:
    if tastes is None:
        raise PrototypeUnknown(
            f"{name}: no prototypes are fitted to what persons say here; `assay prototypes RECIPE` "
            "fits them"
        )
    people = {key: n for key, n in tastes.fit.people.items() if key != POOL}
    if people.get(name, 0) >= LEAST:
        return tastes
    there = ", ".join(f"{key} ({n} people)" for key, n in people.items())
    small = len(tastes.fit.found.merged)
    merged = (
        f"; {small} that held fewer people than a prototype must ({LEAST} at least) "
        f"{'was' if small == 1 else 'were'} merged into the pool, so that no label can be read as "
        "a few persons' word"
    )
    raise PrototypeUnknown(
        f"{name}: no such prototype; "
        + (f"there are {there}" if there else "people do not differ here for good")
        + (merged if small else "")
        + ". `assay prototypes RECIPE` shows them; labels of everybody need no prototype"
    )


def _explain(row: dict[str, Any], own: list[str], people: dict[str, int]) -> str:
    """Who is surest of each side."""
    names = sorted(own, key=lambda name: -row[name])
    first, last = names[0], names[-1]
    told = [
        f"{name.removeprefix('p_')} ({people[name.removeprefix('p_')]} people) takes {side} with "
        f"probability {p:.2f}"
        for name, side, p in ((first, "A", row[first]), (last, "B", 1 - row[last]))
    ]
    return ", ".join(told)
