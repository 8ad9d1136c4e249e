"""`assay import`: somebody's preference pool, or recorded opinions, into the lake."""

from __future__ import annotations

from pathlib import Path

import click

from flows.options import command_options, show_example


@click.command(
    "import",
    epilog=show_example(
        "assay import pool.jsonl.gz --name helpful --licence MIT\n"
        "  assay import --judgments opinions.jsonl"
    ),
)
@click.argument("source")
@command_options
@click.option(
    "--name", help="What the pool is called in the lake; the file's name for --judgments."
)
@click.option("--licence", default="unknown", show_default=True, help="The pool's licence.")
@click.option("--judgments", is_flag=True, help="SOURCE holds recorded opinions (see above).")
@click.option(
    "--layout",
    default="auto",
    show_default=True,
    help="auto, trl, trl_implicit, hh, ultrafeedback, pandalm, finegrained or judgments.",
)
@click.option("--category", default=None, help="A category for every prompt of the pool.")
def import_(
    source: str,
    lake: str,
    as_json: bool,
    name: str | None,
    licence: str,
    judgments: bool,
    layout: str,
    category: str | None,
) -> None:
    """Read a preference pool into the lake.

    SOURCE is a Parquet, JSONL or CSV file (.gz too), a folder saved by `datasets`, or
    hub:ORG/NAME. Rows that cannot be used are quarantined with their reason.

    With --judgments each row is an opinion that somebody recorded, as a JSON object:

    \b
      annotator, kind         who said it; human, llm, reward_model, verifier
                              or import
      prompt                  text, or a list of messages
      response_a, response_b  the two texts
      p_a | verdict | score_a and score_b
                              probability that response_a is better; A, B or
                              tie; two numbers, the higher is better
      order                   optional: ab or ba, which was shown first
      gold                    optional: true where this is the truth
      sample_index, category, criterion, critique, raw, tokens_in,
      tokens_out, seconds, licence
                              optional

    All of it speaks of the record's response_a and response_b, in whatever order they were shown:

    \b
      {"annotator": "ann", "kind": "human", "prompt": "Why is the sky blue?",
       "response_a": "It scatters blue light.", "response_b": "No idea.",
       "verdict": "A", "order": "ba"}
    """
    from flows.console import Console, describe_summary, print_json
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.importing import import_pool
    from pipelines.lake.run import new_run
    from schemas.recipe import parse_import

    if judgments:
        if layout not in ("auto", "judgments"):
            raise click.UsageError(
                f"--judgments is a layout of its own: leave out --layout {layout}"
            )
        layout, name = "judgments", name or _name_file(source)
    if name is None:
        raise click.UsageError("Missing option '--name'.")
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


def _name_file(source: str) -> str:
    """The name of a file without its suffixes."""
    return Path(source).name.removesuffix(".gz").rsplit(".", 1)[0]
