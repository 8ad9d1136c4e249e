"""`assay clean`: a pool of Parquet files, too big or too raw for the lake."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from flows.options import command_options, show_example
from schemas.errors import AssayError


class RayMissing(AssayError):
    """What scales out is not installed."""


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
@click.option("--register", is_flag=True, help="Also write the decisions into the lake.")
@command_options
@click.pass_context
def clean(
    context: click.Context,
    pool: Path,
    out: Path,
    recipe: str | None,
    near: float | None,
    against: tuple[str, ...],
    kept: bool,
    ray: str | None,
    register: bool,
    lake: str,
    as_json: bool,
) -> None:
    """Clean POOL, a Parquet file of pairs or a folder of them, outside the lake.

    Exact duplicates, mirrored and contradictory pairs, equal answers, repeated evaluation prompts,
    near-duplicates, and the quotas of a recipe. Nothing is changed: `decisions` holds a row with
    its reason for each row that is not kept. Run again on a pool that has grown it reads what is
    new; killed, it goes on.

    With --register the lake has the decisions too (item_kind `row`), and what is quarantined. A row
    goes by its pair_id, or as FILE:ROW where the pool has none, whatever ids the lake would give
    its texts, and two rows of one name are refused. No recipe heeds these decisions; to work on
    what is left, import what --kept writes.
    """
    from flows.console import print_json

    if not register and context.get_parameter_source("lake") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--lake is where --register writes: add --register, or drop --lake")
    wanted, mix, seed = _read_recipe(recipe, near, against)
    choice = {"mix": mix, "seed": seed, "kept": kept, "lake": lake if register else None}
    row = (
        _clean_here(pool, out, wanted, **choice)
        if ray is None
        else _clean_on_ray(ray, pool, out, wanted, choice)
    )
    if as_json:
        print_json(row)
    else:
        _show(row, out)


def _clean_here(
    pool: Path, out: Path, wanted: dict[str, Any], lake: str | None, **choice: Any
) -> dict[str, Any]:
    from flows.console import Console
    from pipelines.clean.bulk.clean import clean_pool
    from pipelines.clean.bulk.planning import make_plan
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run

    console = Console()
    run = new_run(tell=console.tell, progress=console.progress)
    with open_lake(lake) if lake else nullcontext() as opened:
        return clean_pool(pool, out, make_plan(**wanted), run, lake=opened, **choice).to_json()


def _clean_on_ray(
    address: str, pool: Path, out: Path, wanted: dict[str, Any], choice: Any
) -> dict[str, Any]:
    from flows.settings import borrow_server, prepare_prefect

    prepare_prefect()
    with borrow_server() as use_server:
        try:
            from flows.pools import clean_on_ray
        except ImportError as error:
            raise RayMissing(f"{error}: pip install 'assay[ray]'") from error
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: use_server()}):
            return clean_on_ray(address, pool, out, wanted, **choice)


def _read_recipe(recipe: str | None, near: float | None, against: tuple[str, ...]) -> Any:
    """The arguments of `make_plan`, the mix and the seed."""
    if recipe is None:
        return {"similarity": near or 0.8, "against": list(against)}, None, 0
    from pipelines.recipes import find_recipe

    parsed, base = find_recipe(recipe)
    wanted: dict[str, Any] = {
        "similarity": near or parsed.clean.near_duplicate_similarity,
        "against": list(against),
    }
    spec = parsed.clean.decontaminate
    if spec is not None and not against:
        from pipelines.clean.decontaminate import list_shares

        wanted |= {"against": list(spec.against), "least": list_shares(spec),
                   "base": str(base) if base else None}  # fmt: skip
    return wanted, parsed.mix, parsed.seed


def _show(row: dict[str, Any], out: Path) -> None:
    click.echo(f"{row['rows_in']:,} rows, {row['kept']:,} kept")
    for kind in ("dropped", "quarantined"):
        for rule, count in sorted(row[kind].items(), key=lambda item: -item[1]):
            click.echo(f"  {count:>12,}  {kind}: {rule}")
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row["steps"].items())
    click.echo(f"{row['sketched']} of {row['parts']} parts read; {steps}")
    if "registered" in row:
        new = sum(row["registered"].values())
        told = f"{new:,} rows are new in the lake" if new else "the lake has all of it already"
        click.echo(f"{told}, under the scope {row['scope']}")
    click.echo(f"each decision with its reason: {out / 'decisions'}")
    click.echo(f"what became of the rows, with examples: {out / 'report.html'}")
