"""`assay review`: pairs to people and back."""

from __future__ import annotations

import os
from typing import Any

import click

from flows.options import command_options, show_example

URL = click.option(
    "--url", default=None, envvar="LABEL_STUDIO_URL",
    help="A Label Studio server; without it, the one that `assay up label-studio` started.",
)  # fmt: skip


@click.group(epilog=show_example("assay review push && assay review pull"))
def review() -> None:
    """Pairs that no policy can decide, to people in Label Studio and back."""


@review.command(epilog=show_example("assay review push --project Undecided"))
@command_options
@URL
@click.option("--project", default="Assay", show_default=True, help="The project's title.")
def push(lake: str, as_json: bool, url: str | None, project: str) -> None:
    """Send the queued pairs as blinded, side-shuffled tasks."""
    from pipelines.label.review import push_reviews
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run

    with open_lake(lake, create=False) as opened:
        _show(push_reviews(opened, new_run(tell=_tell), find_desk(url), project), as_json)


@review.command(epilog=show_example("assay review pull"))
@command_options
@URL
def pull(lake: str, as_json: bool, url: str | None) -> None:
    """Bring annotations back as judgments; pulling twice adds nothing."""
    from pipelines.label.review import pull_reviews
    from pipelines.lake.catalogue import open_lake
    from pipelines.lake.run import new_run

    with open_lake(lake, create=False) as opened:
        _show(pull_reviews(opened, new_run(tell=_tell), find_desk(url)), as_json)


@review.command(epilog=show_example("assay review status"))
@command_options
def status(lake: str, as_json: bool) -> None:
    """Count what is queued, pushed and answered."""
    from flows.console import print_json
    from pipelines.label.review import review_status
    from pipelines.lake.catalogue import open_lake

    with open_lake(lake, create=False) as opened:
        counts = review_status(opened)
    if as_json:
        print_json(counts)
    else:
        click.echo("  ".join(f"{name}: {n}" for name, n in counts.items()))


def find_desk(url: str | None) -> Any:
    """The Label Studio to talk to: by URL (LABEL_STUDIO_URL, where none is given) and
    LABEL_STUDIO_API_KEY, or the local one (also where the URL is its own).

    Raises:
        annotators.label_studio.DeskUnreachable: neither is there.
    """
    from annotators.label_studio import DeskUnreachable, connect_desk
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


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _show(summary: Any, as_json: bool) -> None:
    from flows.console import describe_summary, print_json

    row = summary.to_json()
    if as_json:
        print_json(row)
    else:
        counts = [f"  {name}: {row[name]}" for name in ("new", "deleted") if name in row]
        click.echo(describe_summary(row) + "".join(counts))
