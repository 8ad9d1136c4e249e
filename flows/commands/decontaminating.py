"""`assay decontaminate`: no prompt of an evaluation set in a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.options import command_options, show_example

if TYPE_CHECKING:
    from schemas.recipe import Recipe

HUB = "hub:"
STEPS = ("decontaminate", "split", "decontaminate_responses")
"""Responses are those of the prompts that stay, and such prompts have a split."""


@click.command(
    "decontaminate",
    epilog=show_example(
        "assay decontaminate --against gsm8k_test.jsonl.gz --lake ./lake\n"
        "  assay decontaminate recipe.yaml --against RMB_dataset --against alpaca_eval.json"
    ),
)
@click.argument("recipe", required=False)
@click.option(
    "--against",
    multiple=True,
    metavar="FILE|DATASET",
    help="An evaluation set; may be given several times. Default: those of the recipe.",
)
@command_options
def decontaminate(recipe: str | None, against: tuple[str, ...], lake: str, as_json: bool) -> None:
    """Drop prompts and responses that repeat a prompt of an evaluation set.

    RECIPE is a file or a recipe's name; without it, all pools that were imported are looked at. The
    prompts that stay get their split.

    An evaluation set is a Parquet, JSONL, JSON or CSV file (.gz too), a folder of such files or one
    saved by `datasets`, or hub:ORG/NAME. RewardBench 1 and 2, RM-Bench, JudgeBench, RMB, PPE,
    LLMBar, AlpacaEval, IFEval, GSM8K, MATH and HumanEval are known by their columns; of others the
    column prompt, question, instruction, problem, messages or conversations is read.

    Sets given with --against take the place of those in RECIPE, and the lake remembers the recipe
    with them. For `assay run` to leave the same rows out, name them in the recipe file:

    \b
      clean:
        decontaminate:
          against: [gsm8k_test.jsonl.gz]
    """
    from flows.console import Console, describe_summary, print_json
    from pipelines.clean.decontaminate import METHODS
    from pipelines.lake.run import merge_counts, new_run
    from pipelines.recipes import find_recipe
    from pipelines.steps import DECONTAMINATING, open_work, run_step

    if recipe is None:
        parsed, base = _gather_pools(lake), None
    else:
        parsed, base = find_recipe(recipe, lake)
    parsed = _name_sets(parsed, against)
    console = Console()
    run = new_run(parsed, tell=console.tell, progress=console.progress)
    with open_work(lake, parsed, base, run) as work:
        done = {name: run_step(work, name) for name in STEPS}
        work.lake.compact()
    rows = [done[name].to_json() for name in DECONTAMINATING]
    found = merge_counts(row["hits"] for row in rows)
    hits = {method: found[method] for method in METHODS if method in found}
    if as_json:
        print_json(_merge(rows, hits))
        return
    for row in rows:
        click.echo(describe_summary(row))
    click.echo(f"hits: {', '.join(f'{method} {n}' for method, n in hits.items())}")


def _merge(rows: list[dict[str, Any]], hits: dict[str, int]) -> dict[str, Any]:
    """Both steps as one: `dropped` is by the source of the prompt, by rule in `stages`."""
    from pipelines.lake.run import merge_counts

    return {
        **rows[0],
        **{name: sum(row[name] for row in rows) for name in ("rows_in", "kept")},
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "stage": "decontaminate",
        "hits": hits,
        "hits_by_set": merge_counts(row["hits_by_set"] for row in rows),
        "dropped": merge_counts(row["dropped_by_source"] for row in rows),
        "stages": rows,
    }


def _gather_pools(lake: str) -> Recipe:
    """A recipe of every pool that the lake has imported."""
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.places import LakeError
    from schemas.recipe import parse_recipe

    with open_lake(lake, create=False) as opened:
        found = opened.query("SELECT DISTINCT source FROM imports ORDER BY source")["source"]
    if found.is_empty():
        raise LakeError(f"{lake}: no pool was imported; import one first, or name a recipe")
    pools = [{"path": name, "name": name} for name in found]
    return parse_recipe({"name": "imported-pools", "prompts": {"imports": pools}, "train": None})


def _name_sets(recipe: Recipe, against: tuple[str, ...]) -> Recipe:
    """The recipe with these evaluation sets for its own.

    Raises:
        RecipeError: neither names any.
    """
    from schemas.cleaning import DecontaminateSpec
    from schemas.recipe import RecipeError

    spec = recipe.clean.decontaminate
    if against:
        named = [a if a.startswith(HUB) else str(Path(a).absolute()) for a in against]
        update = {"against": named}
        spec = spec.model_copy(update=update) if spec else DecontaminateSpec(against=named)
    elif spec is None:
        raise RecipeError(
            "no evaluation set is named: give one with --against, or name it in the recipe under "
            "clean: decontaminate: against"
        )
    clean = recipe.clean.model_copy(update={"decontaminate": spec})
    return recipe.model_copy(update={"clean": clean})
