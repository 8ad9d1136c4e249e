"""`assay rubric`: rubrics that get better against gold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from flows.options import command_options, show_example

LAKE_GOLD = "lake"


@click.group(epilog=show_example("assay rubric evolve general --model quickstart"))
def rubric() -> None:
    """Rubrics: what a judge compares two responses by."""


@rubric.command(
    epilog=show_example(
        "assay rubric evolve advice --lake ./lake --model my.yaml --out advice\n"
        "  less advice.diff                       # read it, then put the new rubric in place:\n"
        "  mv advice.new.yaml rubrics/advice.yaml"
    )
)
@click.argument("name", metavar="RUBRIC")
@command_options
@click.option(
    "--gold", default=LAKE_GOLD, show_default=True,
    help="`lake`: what people, and opinions flagged gold, say there of prompts in train; or a FILE "
    "of recorded opinions, one JSON object a line. What the lake keeps for its exam is left out.",
)  # fmt: skip
@click.option(
    "--model", "recipe", required=True,
    help="A recipe (file or name) whose first judge's model scores and proposes.",
)  # fmt: skip
@click.option(
    "--out", default=None, metavar="FILE",
    help="Write FILE.new.yaml and FILE.diff (default: the rubric's name).",
)  # fmt: skip
@click.option("--rounds", default=6, show_default=True, type=click.IntRange(min=1),
              help="Rounds of edits at most.")  # fmt: skip
def evolve(
    name: str, lake: str, as_json: bool, gold: str, recipe: str, out: str | None, rounds: int
) -> None:
    """Improve RUBRIC (a file, or the name of one that ships) against gold.

    A model proposes edits from pairs that the rubric gets wrong. What is kept is what agrees better
    with gold; what is recommended must also do so on pairs that were held out. Nothing is
    replaced: read the diff, and put the new file in place yourself.
    """
    from annotators.rubrics.gold import read_gold
    from annotators.rubrics.rubric import load_rubric
    from engines.assets import find_asset
    from engines.models import resolve_model
    from engines.services import release_services
    from flows.console import Console, print_json
    from pipelines.label.evolving import find_gold, hold_in_lake
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_recipe

    file = Path(name)
    original = load_rubric(file if file.is_file() else find_asset(f"rubrics/{name}.yaml"))
    parsed, _ = find_recipe(recipe, lake)
    spec = parsed.judges[0].model if parsed.judges else next(iter(parsed.models))
    model = resolve_model(parsed.models[spec])
    console = Console(quiet=as_json)
    run = new_run(parsed, tell=console.tell, progress=console.progress)
    try:
        if gold == LAKE_GOLD:
            with open_lake(lake, create=False) as opened:
                evolved = _evolve(
                    original, model, find_gold(opened, original.categories), rounds, console.tell,
                    lambda judge, items: hold_in_lake(opened, run, judge, items),
                )  # fmt: skip
        else:
            taught = _leave_exam(read_gold(Path(gold)), gold, lake, console.tell)
            evolved = _evolve(original, model, taught, rounds, console.tell)
    finally:
        release_services()
    written = _write(evolved, out or original.name) if evolved.recommended else []
    if as_json:
        print_json(_to_json(evolved, written))
        return
    click.echo(_describe(evolved))
    for line in written:
        click.echo(f"wrote {line}")


def _leave_exam(
    gold: Sequence[Any], file: str, lake_url: str, tell: Callable[[str], None]
) -> list[Any]:
    """The gold of a file without the pairs of prompts that are the exam's of the lake, or near to
    one of them; all of it where there is no lake.

    Raises:
        AssayError: nothing is left.
    """
    import polars as pl

    from pipelines.clean.near_exam import find_near_exam
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.places import LakeMissing
    from schemas.errors import AssayError

    prompts = {pair.item.prompt_id: list(pair.item.messages) for pair in gold}
    try:
        with open_lake(lake_url, create=False) as opened:
            frame = pl.DataFrame({"prompt_id": list(prompts), "messages": list(prompts.values())})
            exam = find_near_exam(opened, frame)
    except LakeMissing:
        return list(gold)
    left = [pair for pair in gold if pair.item.prompt_id not in exam]
    if len(left) < len(gold):
        tell(
            f"{len(gold) - len(left)} of {len(gold)} gold pairs of {file} are left out: their "
            "prompts are of the exam of this lake, or near to it, and the exam teaches nothing"
        )
    if gold and not left:
        raise AssayError(
            f"{file}: all of its {len(gold)} gold pairs are of the exam of this lake; give gold of "
            "other prompts"
        )
    return left


def _evolve(
    original: Any,
    model: Any,
    gold: Sequence[Any],
    rounds: int,
    tell: Callable[[str], None],
    hold: Callable[[Any, Sequence[Any]], Sequence[Any]] | None = None,
) -> Any:
    import asyncio
    from functools import cache

    from annotators.rubrics.evolve import evolve_rubric
    from annotators.rubrics.judge import load_rubric_templates
    from annotators.rubrics.proposing import (
        answer_requests,
        load_edit_template,
        make_proposer,
        make_scorer,
    )
    from annotators.talk import judge_items
    from engines.models import open_endpoint

    endpoint = cache(lambda: open_endpoint(model, tell))

    def hold_here(judge: Any, items: Sequence[Any]) -> Sequence[Any]:
        return asyncio.run(judge_items(judge, items, endpoint()))

    def answer(requests: Sequence[Any]) -> Sequence[Any]:
        return asyncio.run(answer_requests(requests, endpoint()))

    return evolve_rubric(
        original,
        make_scorer(model, load_rubric_templates(), hold or hold_here),
        gold,
        make_proposer(model, load_edit_template(), answer),
        rounds=rounds,
        tell=tell,
    )


def _write(evolved: Any, out: str) -> list[str]:
    """The new rubric, with those of the old one's tests that still hold, and the diff."""
    from dataclasses import replace

    from annotators.rubrics.aggregate import keep_tests
    from annotators.rubrics.rubric import write_rubric

    tests = keep_tests(evolved.candidate, evolved.original.tests)
    files = {
        f"{out}.new.yaml": write_rubric(replace(evolved.candidate, tests=tests)),
        f"{out}.diff": evolved.diff,
    }
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    return list(files)


def _describe(evolved: Any) -> str:
    low, high = evolved.interval
    before, after = evolved.test_agreement
    verdict = "recommended: read the diff" if evolved.recommended else (
        "not recommended: the interval of the gain reaches 0; the rubric stays as it is"
    )  # fmt: skip
    return (
        f"tried {len(evolved.history) - 1} rubrics on {evolved.dev_pairs} pairs "
        f"({evolved.scored} scores)\n"
        f"on {evolved.test_pairs} held-out pairs: agreement {before:.3f} before, {after:.3f} "
        f"after, gain {evolved.gain:+.3f} [{low:+.3f}, {high:+.3f}]\n{verdict}"
    )


def _to_json(evolved: Any, written: list[str]) -> dict[str, Any]:
    return {
        "rubric": evolved.original.name,
        "version": evolved.original.version,
        "tried": len(evolved.history) - 1,
        "scored": evolved.scored,
        "dev_pairs": evolved.dev_pairs,
        "test_pairs": evolved.test_pairs,
        "agreement_before": evolved.test_agreement[0],
        "agreement_after": evolved.test_agreement[1],
        "gain": evolved.gain,
        "interval": list(evolved.interval),
        "recommended": evolved.recommended,
        "history": [
            {"round": step.generation, "edit": step.edit and step.edit.action,
             "criterion": step.edit and (step.edit.title or step.edit.criterion.title),
             "agreement": step.agreement, "fitness": step.fitness}
            for step in evolved.history
        ],
        "diff": evolved.diff,
        "written": written,
    }  # fmt: skip
