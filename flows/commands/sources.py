"""`assay sources`: what each source and each voice of a version is worth."""

from __future__ import annotations

from pathlib import Path

import click

from flows.options import command_options, show_example


@click.command(epilog=show_example("assay sources mine@3 --out sources.json"))
@click.argument("version")
@command_options
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="A file for the same as JSON.")  # fmt: skip
def sources(version: str, lake: str, as_json: bool, out: Path | None) -> None:
    """What is each source of VERSION worth, and each voice that its labels rest on?

    VERSION is NAME[@V], or the file of a recipe, which means its newest version. Of each source:
    its pairs, who labelled them, margin, length, who agrees, how right gold finds them; and what
    the small probe loses on held-out gold when it learns without it. Of each voice: how right the
    labels are of held-out gold without it, and how many can be kept. All with 95 % intervals. No
    model is called; what was found stands in the lake and in the report.
    """
    import json

    from flows.console import print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_base, find_recipe
    from pipelines.ship.publish import find_version
    from pipelines.ship.sources.taking import take_sources
    from pipelines.ship.sources.telling import render_sources

    is_file = Path(version).suffix in (".yaml", ".yml")
    reference = find_recipe(version)[0].name if is_file else version
    with open_lake(lake, create=False) as opened:
        run = new_run(tell=lambda line: click.echo(line, err=True))
        named = find_version(opened, reference)
        found = take_sources(opened, run, named, find_base(opened, named.name))
    if out is not None:
        out.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(found)
    else:
        click.echo(render_sources(found))
