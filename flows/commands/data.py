"""`assay import`: somebody's preference pool into the lake."""

from __future__ import annotations

import click

from flows.options import command_options, show_example


@click.command(
    "import",
    epilog=show_example("assay import pool.jsonl.gz --name helpful --licence MIT"),
)
@click.argument("source")
@command_options
@click.option("--name", required=True, help="What the pool is called in the lake.")
@click.option("--licence", default="unknown", show_default=True, help="The pool's licence.")
@click.option(
    "--layout",
    default="auto",
    show_default=True,
    help="auto, trl, trl_implicit, hh, ultrafeedback, pandalm or finegrained.",
)
@click.option("--category", default=None, help="A category for every prompt of the pool.")
def import_(
    source: str,
    lake: str,
    as_json: bool,
    name: str,
    licence: str,
    layout: str,
    category: str | None,
) -> None:
    """Read a preference pool into the lake.

    SOURCE is a Parquet, JSONL or CSV file (.gz too), a folder saved by `datasets`, or
    hub:ORG/NAME. Rows that cannot be used are quarantined with their reason.
    """
    from flows.console import Console, describe_summary, print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.importing import import_pool
    from pipelines.lake.run import new_run
    from schemas.recipe import parse_import

    parsed = parse_import(source, name=name, licence=licence, layout=layout, category=category)
    console = Console()
    with open_lake(lake) as opened:
        run = new_run(tell=console.tell, progress=console.progress)
        summary = import_pool(opened, run, parsed)
        opened.compact()
    if as_json:
        print_json(summary.to_json())
    else:
        click.echo(describe_summary(summary.to_json()))
