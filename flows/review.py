"""The flows of people in the loop: push, pull and release. None of them waits for anybody."""

from __future__ import annotations

from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from annotators.desk import DeskUnreachable
from flows.commands.people import find_desk, pull_and_assess
from pipelines.label.people.pushing import push_reviews
from pipelines.label.people.releasing import release_batch
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run
from pipelines.recipes import find_review_settings


def _is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Only a broken connection to the desk is tried again: a refused token stays refused."""
    error = state.result(raise_on_failure=False)
    broken = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
    return isinstance(error, DeskUnreachable) and isinstance(error.__cause__, broken)


def _try_again(name: str) -> Any:
    """A task that is tried again where the desk is away for a moment."""
    return task(
        name=name,
        retries=2,
        retry_delay_seconds=30,
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
    )


@flow(name="review-pull", persist_result=False)
def review_pull(
    lake: str = "lake", url: str | None = None, recipe: str | None = None
) -> dict[str, Any]:
    """Bring what people said into the lake, and queue what follows. Pulling twice adds nothing.

    Args:
        lake: a lake as `--lake` takes it.
        url: the Label Studio server (its token comes from LABEL_STUDIO_API_KEY); without it, the
            one of LABEL_STUDIO_URL in the worker's environment, else the one that
            `assay up label-studio` started.
        recipe: whose `review` applies; without it, the one that the lake saw last.
    """

    @_try_again("pull")
    def pull() -> dict[str, Any]:
        with open_lake(lake) as opened:
            spec, _ = find_review_settings(opened, recipe, lake)
            run = new_run(tell=get_run_logger().info)
            return pull_and_assess(opened, run, find_desk(url), spec)

    return pull()


@flow(name="review-push", persist_result=False)
def review_push(
    lake: str = "lake",
    url: str | None = None,
    recipe: str | None = None,
    title: str = "Assay",
    minutes: float | None = None,
) -> dict[str, Any]:
    """Send a batch to people. One that was cut short is carried out, and nothing is sent twice.

    Args:
        lake, url, recipe: see `review_pull`.
        title: the project's title.
        minutes: of everybody together; without it, what the recipe says.
    """

    @_try_again("push")
    def push() -> dict[str, Any]:
        with open_lake(lake) as opened:
            spec, criteria = find_review_settings(opened, recipe, lake)
            if minutes is not None:
                spec = spec.model_copy(update={"minutes": minutes})
            run = new_run(tell=get_run_logger().info)
            desk = find_desk(url)
            return push_reviews(opened, run, desk, spec, title=title, criteria=criteria).to_json()

    return push()


@flow(name="review-release", persist_result=False)
def review_release(
    batch: str, approved_by: str, lake: str = "lake", recipe: str | None = None
) -> dict[str, Any]:
    """Make gold of what is decided of a batch. Nobody approves by default.

    Args:
        batch: its id, or the beginning of it.
        approved_by: the name of whoever approves.
        lake, recipe: see `review_pull`.
    """
    with open_lake(lake, create=False) as opened:
        spec, _ = find_review_settings(opened, recipe, lake)
        run = new_run(tell=get_run_logger().info)
        return release_batch(opened, run, batch, approved_by, spec).to_json()
