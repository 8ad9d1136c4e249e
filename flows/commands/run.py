"""`assay run`: the whole flow."""

from __future__ import annotations

from pathlib import Path

import click

from flows.options import command_options, show_example


@click.command(epilog=show_example("assay run quickstart --lake ./lake --out ./out"))
@click.argument("recipe")
@command_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out"),
    show_default=True,
    help="Where the export, the model and the report go.",
)
@click.option("--retry-failed", is_flag=True, help="Try again the calls that failed for good.")
def run(recipe: str, lake: str, as_json: bool, out: Path, retry_failed: bool) -> None:
    """Take RECIPE from prompts to a published version, a reward model, its exam and a report.

    RECIPE is a YAML file or the name of one that ships with Assay (quickstart, tiny). What the
    lake has is not done again: a second run makes no model call.
    """
    from flows.console import Console, print_json
    from flows.settings import borrow_server, load_ahead, prepare_prefect

    prepare_prefect()
    with borrow_server() as use_server:
        from pipelines.recipes import find_recipe

        parsed, base = find_recipe(recipe, lake)
        from flows.curate import curate_here

        load_ahead()
        outputs = curate_here(
            parsed,
            base,
            lake,
            out,
            retry_failed=retry_failed,
            console=Console(),
            api_url=use_server(),
        )
    if as_json:
        print_json(outputs.to_json())
        return
    click.echo(outputs.describe())
