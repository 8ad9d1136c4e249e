"""`assay loop`: the gold loop of a recipe by itself, and how far it has got."""

from __future__ import annotations

from typing import Any

import click

from flows.options import command_options, show_example

STEPS = ("judge", "recycle", "label", "review_queue")


@click.command(epilog=show_example("assay loop synpref --lake ./lake"))
@click.argument("recipe")
@command_options
@click.option("--retry-failed", is_flag=True, help="Try again the calls that failed for good.")
def loop(recipe: str, lake: str, as_json: bool, retry_failed: bool) -> None:
    """Go on with the gold loop of RECIPE on what the lake holds, and label by it.

    RECIPE is a file or a recipe's name, with a part `loop`. An iteration that was cut short goes
    on; one that asked people goes on once their answers are released.
    """
    from engines.services import release_services
    from flows.commands.stages import print_summaries
    from flows.console import Console
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_recipe
    from pipelines.steps import is_wanted, open_work, run_step, settle
    from schemas.recipe import RecipeError

    parsed, base = find_recipe(recipe, lake)
    if parsed.loop is None:
        raise RecipeError(
            f"{recipe}: the recipe has no loop; add `loop: {{}}` to it (docs/loop.md)"
        )
    console = Console()
    run = new_run(parsed, retry_failed=retry_failed, tell=console.tell, progress=console.progress)
    with open_work(lake, parsed, base, run) as work:
        if is_wanted(parsed, "import"):
            run_step(work, "import")
        settle(work, until="verify")
        try:
            summaries = [run_step(work, name) for name in STEPS if is_wanted(parsed, name)]
        finally:
            release_services()
        work.lake.compact()
    rows: list[dict[str, Any]] = [summary.to_json() for summary in summaries]
    print_summaries(rows, as_json)
    if as_json:
        return
    for line in tabulate_iterations(rows[0].get("iterations", [])):
        click.echo(line)


def tabulate_iterations(rows: list[dict[str, Any]]) -> list[str]:
    """The iterations as lines of a table."""
    if not rows:
        return []
    heads = ("", "kind", "status", "judged", "people", "gold", "right on gold", "95 %", "together",
             "verdicts", "tokens", "minutes")  # fmt: skip
    cells = [heads]
    for row in rows:
        known = row["accuracy"] is not None
        cells.append(
            (
                str(row["number"]),
                row["kind"],
                row["status"],
                str(row["pairs"]),
                str(row["people"]),
                str(row["gold"]),
                f"{row['accuracy']:.1%}" if known else "",
                f"{row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}" if known else "",
                f"{row['accuracy_read']:.1%}" if known else "",
                str(row["verdicts"]),
                str(row["tokens_in"] + row["tokens_out"]),
                f"{row['minutes']:.1f}",
            )
        )
    widths = [max(len(line[at]) for line in cells) for at in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
             for line in cells]  # fmt: skip
    return lines + [f"{row['number']}: {row['ended']}" for row in rows if row["ended"]]
