"""`assay clean`: a pool of Parquet files, too big or too raw for the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flows.options import JSON, show_example


@click.command(epilog=show_example("assay clean pool/ --out cleaned/ --against gsm8k.jsonl --kept"))
@click.argument("pool", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path),
              help="Where decisions, kept rows and what is remembered of the pool go.")  # fmt: skip
@click.option("--recipe", default=None,
              help="Whose `clean`, `mix` and seed apply: a file or a name.")  # fmt: skip
@click.option("--near", default=None, type=click.FloatRange(0, 1, min_open=True),
              help="Similarity from which two pairs are near-duplicates "
              "[default: the recipe's, else 0.8].")  # fmt: skip
@click.option("--against", multiple=True, metavar="FILE",
              help="Evaluation prompts that must not be in the pool; several times for several "
              "[default: the recipe's].")  # fmt: skip
@click.option("--kept", is_flag=True, help="Also write the rows that are kept, as they came.")
@click.option("--ray", default=None, metavar="ADDRESS",
              help="Sketch the parts on a Ray cluster: its address, or `local`.")  # fmt: skip
@JSON
def clean(
    pool: Path,
    out: Path,
    recipe: str | None,
    near: float | None,
    against: tuple[str, ...],
    kept: bool,
    ray: str | None,
    as_json: bool,
) -> None:
    """Clean POOL, a Parquet file of pairs or a folder of them, outside the lake.

    Exact duplicates, mirrored and contradictory pairs, equal answers, repeated evaluation prompts,
    near-duplicates, and the quotas of a recipe. Nothing is changed: `decisions` holds a row with
    its reason for each row that is not kept. Run again on a pool that has grown it reads what is
    new; killed, it goes on.
    """
    from flows.console import Console, print_json
    from pipelines.clean.bulk.clean import clean_pool
    from pipelines.lake.run import new_run

    console = Console()
    run = new_run(tell=console.tell, progress=console.progress)
    plan, mix, seed = _make_plan(recipe, near, against)
    sketch = None
    if ray is not None:
        from pipelines.clean.bulk.ray import sketch_on_ray

        sketch = sketch_on_ray(ray)
    row = clean_pool(
        pool, out, plan, run, mix=mix, seed=seed, kept=kept, sketch=sketch
    ).to_json()  # fmt: skip
    if as_json:
        print_json(row)
        return
    _show(row, out)


def _make_plan(recipe: str | None, near: float | None, against: tuple[str, ...]) -> Any:
    """The plan, the mix and the seed."""
    from pipelines.clean.bulk.sketch import Plan
    from pipelines.clean.contamination import gather_references
    from pipelines.clean.evaluation_sets import read_evaluation_set
    from pipelines.steps import find_recipe

    parsed, base = find_recipe(recipe) if recipe else (None, None)
    spec = parsed.clean if parsed else None
    similarity = near or (spec.near_duplicate_similarity if spec else 0.8)
    least = {"exact": 1.0, "13gram": 0.0}
    named = list(against)
    if spec and spec.decontaminate and not named:
        from pipelines.clean.decontaminate import list_shares

        named, least = list(spec.decontaminate.against), list_shares(spec.decontaminate)
    references = (
        gather_references([read_evaluation_set(place, base) for place in named]) if named else None
    )
    plan = Plan(similarity, references, least if references else {})
    return plan, parsed.mix if parsed else None, parsed.seed if parsed else 0


def _show(row: dict[str, Any], out: Path) -> None:
    click.echo(f"{row['rows_in']:,} rows, {row['kept']:,} kept")
    for kind in ("dropped", "quarantined"):
        for rule, count in sorted(row[kind].items(), key=lambda item: -item[1]):
            click.echo(f"  {count:>12,}  {kind}: {rule}")
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row["steps"].items())
    click.echo(f"{row['sketched']} of {row['parts']} parts read; {steps}")
    click.echo(f"each decision with its reason: {out / 'decisions'}")
