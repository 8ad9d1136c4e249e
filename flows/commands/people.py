"""`assay review`: pairs to people, and gold back."""

from __future__ import annotations

import os
from typing import Any

import click

from flows.options import command_options, show_example

URL = click.option(
    "--url", default=None, envvar="LABEL_STUDIO_URL",
    help="A Label Studio server; without it, the one that `assay up label-studio` started.",
)  # fmt: skip
RECIPE = click.option(
    "--recipe", default=None,
    help="Whose `review` applies: a file or a name [default: the one that the lake saw last].",
)  # fmt: skip

# `schemas.evidence.QUESTIONS`, without loading polars for a help page
QUESTIONS = ("preference", "correctness", "spans", "first_wrong_step", "ranking")
QUESTION = click.option(
    "--question", default=QUESTIONS[0], show_default=True, type=click.Choice(QUESTIONS),
    help="What is asked.",
)  # fmt: skip


@click.group(epilog=show_example("assay review push --minutes 60 && assay review pull"))
def review() -> None:
    """Pairs that no policy can decide, to people in Label Studio and back as gold."""


@review.command(epilog=show_example("assay review queue quickstart --question correctness"))
@click.argument("recipe")
@command_options
@QUESTION
def queue(recipe: str, lake: str, as_json: bool, question: str) -> None:
    """Queue a question about what the label policy of RECIPE cannot decide.

    `assay run` and `assay label` queue preferences; this asks something else of the same responses.
    """
    from pipelines.label.people.queueing import queue_reviews
    from pipelines.recipes import find_recipe
    from pipelines.steps import open_work

    parsed, base = find_recipe(recipe, lake)
    with open_work(lake, parsed, base) as work:
        summary = queue_reviews(work.lake, work.run, work.look(), question)
    _show(summary.to_json(), as_json, "queued", "waiting_for_room")


@review.command(epilog=show_example("assay review push --minutes 60 --project Undecided"))
@command_options
@URL
@RECIPE
@QUESTION
@click.option("--project", default="Assay", show_default=True, help="The project's title.")
@click.option("--minutes", default=None, type=click.FloatRange(min=0, min_open=True),
              help="People's minutes to fill, all together [default: the recipe's].")  # fmt: skip
def push(
    lake: str,
    as_json: bool,
    url: str | None,
    recipe: str | None,
    project: str,
    minutes: float | None,
    question: str,
) -> None:
    """Send what is worth most as blinded, side-shuffled tasks, and what came back to the queue."""
    from pipelines.label.people.pushing import push_reviews
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_review_settings

    with open_lake(lake, create=False) as opened:
        spec, criteria = find_review_settings(opened, recipe, lake)
        if minutes is not None:
            spec = spec.model_copy(update={"minutes": minutes})
        summary = push_reviews(
            opened, new_run(tell=_tell), find_desk(url), spec,
            title=project, question=question, criteria=criteria,
        )  # fmt: skip
        _show(summary.to_json(), as_json, "batch", "gold", "expected_minutes", "waiting")


@review.command(epilog=show_example("assay review pull"))
@command_options
@URL
@RECIPE
@click.option("--full", is_flag=True, help="Read every task, not only what changed.")
def pull(lake: str, as_json: bool, url: str | None, recipe: str | None, full: bool) -> None:
    """Bring answers back and queue what follows from them; pulling twice adds nothing."""
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_review_settings

    with open_lake(lake, create=False) as opened:
        spec, _ = find_review_settings(opened, recipe, lake)
        row = pull_and_assess(opened, new_run(tell=_tell), find_desk(url), spec, full=full)
        _show(row, as_json, "new", "deleted", "below", "requeued", "adjudications")


@review.command(epilog=show_example("assay review release 3f2a --approved-by 'Mira Olsen'"))
@click.argument("batch")
@command_options
@RECIPE
@click.option("--approved-by", required=True, help="The name of whoever approves.")
def release(lake: str, as_json: bool, batch: str, recipe: str | None, approved_by: str) -> None:
    """Make gold of what people decided of BATCH (its id, or the beginning of it).

    Refused, with what was measured, where the batch fails a gate of the recipe.
    """
    from pipelines.label.people.releasing import release_batch
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run
    from pipelines.recipes import find_review_settings

    with open_lake(lake, create=False) as opened:
        spec, _ = find_review_settings(opened, recipe, lake)
        summary = release_batch(opened, new_run(tell=_tell), batch, approved_by, spec)
        _show(summary.to_json(), as_json, "gold", "waiting")


@review.command(epilog=show_example("assay review status"))
@command_options
@RECIPE
def status(lake: str, as_json: bool, recipe: str | None) -> None:
    """Say what waits, what people's minutes bought, and where the next 100 pay most.

    With --json also how right labels and a small reward model became by the minutes spent.
    """
    from flows.console import print_json
    from pipelines.label.people.status import describe_status, review_status
    from pipelines.lake.catalogue import open_lake
    from pipelines.recipes import find_label_settings, find_review_settings

    with open_lake(lake, create=False) as opened:
        spec, _ = find_review_settings(opened, recipe, lake)
        label = find_label_settings(opened, recipe, lake) if as_json else None
        found = review_status(opened, spec, label)
    if as_json:
        print_json(found)
    else:
        click.echo(describe_status(found))


@review.command(epilog=show_example("ASSAY_REVIEW_SECRET=… assay review listen"))
@click.option("--port", default=8089, show_default=True, help="The port on 127.0.0.1.")
def listen(port: int) -> None:
    """Take Label Studio's webhooks, so that the next pull comes sooner.

    What they say is not believed, only that something changed. Needs ASSAY_REVIEW_SECRET, which the
    webhook must send in the header X-Assay-Secret, and the deployments of `assay deploy`.
    """
    from flows.settings import prepare_prefect

    prepare_prefect()
    from flows.listening import listen_for_changes

    listen_for_changes(port, os.environ.get("ASSAY_REVIEW_SECRET", ""), _tell)


def find_desk(url: str | None) -> Any:
    """The Label Studio to talk to: by URL (LABEL_STUDIO_URL, where none is given) and
    LABEL_STUDIO_API_KEY, or the local one (also where the URL is its own).

    Raises:
        annotators.desk.DeskUnreachable: neither is there.
    """
    from annotators.desk import DeskUnreachable, connect_desk
    from engines.services import find_service

    url = (url or os.environ.get("LABEL_STUDIO_URL", "")).rstrip("/")
    service = find_service("label-studio")
    if url and (service is None or service.url != url):
        return connect_desk(url, os.environ.get("LABEL_STUDIO_API_KEY", ""))
    if service is None:
        raise DeskUnreachable(
            "no Label Studio runs here: start one with `assay up label-studio`, or give --url and "
            "the token in LABEL_STUDIO_API_KEY"
        )
    return connect_desk(service.url, service.token or "", local=True)


def pull_and_assess(
    lake: Any, run: Any, desk: Any, spec: Any, *, full: bool = False
) -> dict[str, Any]:
    """A pull, and what follows from it: the summary of the one with the counts of the other."""
    from pipelines.label.people.assessing import assess_batches
    from pipelines.label.people.pulling import pull_reviews

    summary = pull_reviews(lake, run, desk, full=full).to_json()
    return {**summary, **assess_batches(lake, run, spec)}


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _show(row: dict[str, Any], as_json: bool, *names: str) -> None:
    from flows.console import describe_summary, print_json

    if as_json:
        print_json(row)
    else:
        counts = [f"  {name}: {row[name]}" for name in names if row.get(name) is not None]
        click.echo(describe_summary(row) + "".join(counts))
