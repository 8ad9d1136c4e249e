"""One stage on the lake, without Prefect: what a person tries, or another scheduler calls."""

from __future__ import annotations

from typing import Any

import click

from flows.options import command_options, show_example

HELP = {
    "synthesise": (("synthesise", "grow"), "Make the prompts of RECIPE that the lake lacks."),
    "rollouts": (("rollouts", "filter_responses", "decontaminate_responses", "quality_responses",
                  "repeats", "verify"),
                 "Sample, clean and verify the responses of RECIPE."),
    "signals": (("signals",), "Compute the signals of RECIPE that the lake lacks."),
    "judge": (("attributes", "judge", "annotate"),
              "Ask the judges and reward models of RECIPE about every pair no verifier decides."),
    "label": (("prototypes", "recycle", "label", "review_queue"),
               "Apply the label policy of RECIPE; queue the undecided."),
    "dedup": (("dedup", "decontaminate", "split", "quality_prompts"),
              "Find duplicate and contaminated prompts, split the others, check their quality."),
    "filter": (("filter", "quality_pairs"),
               "Drop labelled pairs that repeat others, or that RECIPE's quality rules hit."),
    "mix": (("mix", "match", "weigh"),
            "Balance the pairs of RECIPE by its quotas and by length, and weigh them."),
}  # fmt: skip

OPTIONAL = (
    "attributes",
    "annotate",
    "prototypes",
    "recycle",
    "decontaminate",
    "decontaminate_responses",
)  # left out where the recipe has no such part
# a step of these takes in rows of its own, and not those of the step before it
MAKERS = ("grow", "judge", "annotate")
ADDED = ("calls", "reused", "remaining", "tokens_in", "tokens_out", "made", "invalid")


def _make_command(name: str, steps: tuple[str, ...], text: str) -> click.Command:
    calls = {"synthesise", "rollouts", "signals", "judge"}

    @click.command(name, help=f"{text}\n\nRECIPE is a file or a recipe's name.",
                   epilog=show_example(f"assay {name} quickstart --lake ./lake"))  # fmt: skip
    @click.argument("recipe")
    @command_options
    @click.option(
        "--retry-failed",
        is_flag=True,
        hidden=name not in calls,
        help="Try again the calls that failed for good.",
    )
    def command(recipe: str, lake: str, as_json: bool, retry_failed: bool) -> None:
        run_steps(steps, recipe, lake, as_json, retry_failed)

    return command


def run_steps(
    names: tuple[str, ...], recipe: str, lake: str, as_json: bool, retry_failed: bool
) -> None:
    """Run some steps of a recipe one after the other and print their summaries."""
    from engines.services import release_services
    from flows.console import Console
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_recipe
    from pipelines.steps import is_wanted, open_work, run_step

    parsed, base = find_recipe(recipe, lake)
    names = tuple(name for name in names if name not in OPTIONAL or is_wanted(parsed, name))
    console = Console()
    run = new_run(parsed, retry_failed=retry_failed, tell=console.tell, progress=console.progress)
    with open_work(lake, parsed, base, run) as work:
        try:
            summaries = [run_step(work, name) for name in names]
        finally:
            release_services()
        work.lake.compact()
    print_summaries([summary.to_json() for summary in summaries], as_json)


def print_summaries(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print the summaries of a command's steps: a line each, or one object."""
    from flows.console import describe_summary, print_json

    if as_json:
        print_json({**merge_rows(rows), "stages": rows})
        return
    for row in rows:
        click.echo(describe_summary(row))


def merge_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The summaries of a command's steps as one, whose counts add up as each one's do.

    A row that goes through several steps counts once: a step takes over what the one before it
    kept, what it takes in beyond that came in with it, and what it does not look at stays kept.
    """
    from pipelines.lake.run import merge_counts

    if len(rows) == 1:
        return rows[0]
    rows_in = kept = 0
    for row in rows:
        fresh = row["rows_in"] if row["stage"] in MAKERS else max(0, row["rows_in"] - kept)
        rows_in += fresh
        kept += fresh - sum(row["dropped"].values()) - sum(row["quarantined"].values())
    merged = {name: value for row in reversed(rows) for name, value in row.items()}
    merged.pop("scope", None)  # each step has its own
    for name in ("flipped", "seconds", *ADDED):
        if name in merged:
            merged[name] = round(sum(row.get(name, 0) for row in rows), 3)
    for name in ("dropped", "quarantined", "failures"):
        if name in merged:
            merged[name] = merge_counts(row.get(name, {}) for row in rows)
    to_review = max(row["to_review"] for row in rows)  # undecided, of which some are queued
    return {**merged, "rows_in": rows_in, "kept": kept, "to_review": to_review}


COMMANDS = [_make_command(name, steps, text) for name, (steps, text) in HELP.items()]
