"""Candidate pairs: which two responses to a prompt are worth a label."""

from __future__ import annotations

import itertools

import polars as pl

from annotators.verifiers import VERSION_MARK
from pipelines.label.variants import VARIANTS
from pipelines.label.verifying import CRITERION
from pipelines.lake.catalogue import Lake
from schemas.ids import make_pair_id
from schemas.recipe import Recipe

CORRECT = 0.999
PAIR_SCHEMA = {
    "pair_id": pl.String,
    "prompt_id": pl.String,
    "response_a": pl.String,
    "response_b": pl.String,
    "basis": pl.String,
}


def find_pairs(
    lake: Lake, recipe: Recipe, rollouts: pl.DataFrame, variants: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The candidate pairs of a recipe: pair_id, prompt_id, response_a < response_b, basis.

    `basis` says where a pair comes from: `verifier` (every correct x incorrect response where a
    verifier can tell), `all` (all combinations otherwise) or `import` (the pairs that an imported
    pool compared). At most `pairs_per_prompt` of a prompt, the smallest pair ids first; an
    imported pool's own pairs are not capped.

    Args:
        rollouts: the responses in play, after the cleaning of responses.
        variants: variant, stands: an imported pair of a variant is one of the response that stands
            for it.
    """
    responses = rollouts.unique(["prompt_id", "response_id"]).select("prompt_id", "response_id")
    verdicts = lake.query(
        "SELECT response_a AS response_id, max(score) AS score FROM judgments "
        "SEMI JOIN wanted ON judgments.response_a = wanted.response_id "
        "WHERE kind = 'verifier' AND criterion = ? AND ends_with(annotator, ?) "
        "GROUP BY response_a",
        [CRITERION, VERSION_MARK],
        wanted=responses,
    )
    imported = _find_imported(lake, recipe, responses, variants)
    taken = set(imported["prompt_id"])
    rows = []
    scored = responses.join(verdicts, on="response_id", how="left").sort("response_id")
    groups = scored.group_by("prompt_id", maintain_order=True).agg("response_id", "score")
    for prompt_id, ids, scores in groups.iter_rows():
        if prompt_id not in taken:
            known = dict(zip(ids, scores, strict=True))
            rows += _combine(prompt_id, known, recipe.label.pairs_per_prompt)
    formed = pl.DataFrame(rows, schema=PAIR_SCHEMA, orient="row")
    return pl.concat([formed, imported]).unique("pair_id").sort("pair_id")


def _combine(
    prompt_id: str, scores: dict[str, float | None], cap: int
) -> list[tuple[str, str, str, str, str]]:
    has_verdicts = any(score is not None for score in scores.values())
    found = []
    for first, second in itertools.combinations(sorted(scores), 2):
        if has_verdicts:
            one, other = scores[first], scores[second]
            if one is None or other is None or (one >= CORRECT) == (other >= CORRECT):
                continue
        basis = "verifier" if has_verdicts else "all"
        found.append((make_pair_id(prompt_id, first, second), prompt_id, first, second, basis))
    return sorted(found)[:cap]


def _find_imported(
    lake: Lake, recipe: Recipe, responses: pl.DataFrame, variants: pl.DataFrame | None
) -> pl.DataFrame:
    """Pairs that the recipe's imported pools compared, both of whose responses are in play."""
    names = [f"import:{source.name}" for source in recipe.prompts.imports]
    compared = lake.query(
        "WITH names AS (SELECT response_id, response_id AS said FROM wanted UNION "
        "SELECT stands, variant FROM variants SEMI JOIN wanted ON stands = response_id), "
        "compared AS (SELECT DISTINCT prompt_id, response_a, response_b FROM judgments "
        "WHERE list_contains(?, split_part(annotator, '/', 1))) "
        "SELECT DISTINCT j.prompt_id, least(a.response_id, b.response_id) AS response_a, "
        "greatest(a.response_id, b.response_id) AS response_b "
        "FROM compared j JOIN names a ON a.said = j.response_a "
        "JOIN names b ON b.said = j.response_b",
        [names],
        wanted=responses,
        variants=pl.DataFrame(schema=VARIANTS) if variants is None else variants,
    )
    # not in the statement, where this condition is taken for a join: of all names with all
    compared = compared.filter(pl.col("response_a") != pl.col("response_b"))
    ids = [make_pair_id(*row) for row in compared.iter_rows()]
    return compared.with_columns(
        pair_id=pl.Series(ids, dtype=pl.String), basis=pl.lit("import")
    ).select(list(PAIR_SCHEMA))
