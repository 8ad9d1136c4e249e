"""How far to trust each annotator, who differs from whom, and what a shortcut alone would tell."""

from __future__ import annotations

from pathlib import Path

import click

from flows.options import command_options, show_example


@click.command(epilog=show_example("assay reliability --gold import:pandalm/annotator1"))
@command_options
@click.option(
    "--gold",
    "gold_from",
    multiple=True,
    metavar="ANNOTATOR",
    help="Ask what if: whose majority is taken for the truth; may be given several times. Such "
    "cards are shown and not kept, so that no label changes [default: what is recorded as gold and "
    "our own people, else the people of imported pools].",
)
def reliability(lake: str, as_json: bool, gold_from: tuple[str, ...]) -> None:
    """Measure every annotator against gold, and keep the cards; no model is called.

    Order flips, a taste for the first place or for length, answers that could not be read,
    accuracy and calibration by category, what errors judges share, tokens and seconds a label; and
    which judges, samples and orders gold recommends. Also preference cycles, stale judgments of
    policies, and failures found.
    """
    from flows.console import print_json
    from pipelines.label.reliability import measure_annotators, record_cards
    from pipelines.label.showing import render_reliability
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run

    with open_lake(lake, create=False) as opened:
        found = measure_annotators(opened, gold_from)
        if not gold_from:
            record_cards(opened, new_run(), found)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo(render_reliability(found))


@click.command(epilog=show_example("assay bias quickstart --lake ./lake"))
@click.argument("recipe")
@command_options
def bias(recipe: str, lake: str, as_json: bool) -> None:
    """How well do length, format, refusal or position alone predict the labels of RECIPE?

    Of the pairs as they would be published now, and of each category and source. Nothing is
    written. Publishing fails where a shortcut passes its bound in `clean.bias`.
    """
    from flows.console import print_json
    from pipelines.clean.auditing import render_bias
    from pipelines.lake.catalogue import open_lake
    from pipelines.recipes import find_recipe
    from pipelines.view import View

    parsed, base = find_recipe(recipe, lake)
    with open_lake(lake, create=False) as opened:
        found = View(opened, parsed, base).audit_bias()
    if as_json:
        print_json(found)
    else:
        click.echo(render_bias(found))


@click.command(epilog=show_example("assay prototypes mine.yaml --members people.csv"))
@click.argument("recipe")
@command_options
@click.option("--members", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="A CSV file for each person's prototype, by pseudonym.")  # fmt: skip
def prototypes(recipe: str, lake: str, as_json: bool, members: Path | None) -> None:
    """Find kinds of people who differ for good in what they prefer, and where they part.

    Fitted to what persons said (released answers of our own, and the people that the pools of
    RECIPE name), once for the same opinions. Their number is what predicts held-out pairs
    best; none has fewer than five people. Labels heed them where RECIPE has `prototypes` under
    `review`; `assay publish RECIPE --prototype prototype_1` freezes the labels of one.
    """
    from dataclasses import replace

    from flows.console import Console, print_json
    from pipelines.label.people.tastes import require_tastes
    from pipelines.label.people.telling import render_prototypes, tell_tastes, write_members
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_recipe, heed_prototypes
    from pipelines.steps import open_work, settle

    parsed, base = find_recipe(recipe, lake)
    console = Console()
    run = new_run(parsed, tell=console.tell, progress=console.progress)
    with open_work(lake, parsed, base, run) as opened:
        work = replace(opened, recipe=heed_prototypes(parsed), _seen={})
        settle(work, until="prototypes")
        tastes = require_tastes(work.look().tastes, parsed.name)
        told = tell_tastes(tastes)
        if members is not None:
            write_members(tastes.fit, members)
    if as_json:
        print_json(told)
    else:
        click.echo(render_prototypes(told))
