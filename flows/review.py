"""The review-pull flow: a scheduled pull is what makes people's answers count."""

from __future__ import annotations

from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from annotators.label_studio import DeskUnreachable
from flows.commands.people import find_desk
from pipelines.label.review import pull_reviews
from pipelines.lake.catalogue import open_lake
from pipelines.lake.run import new_run


def _is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Only a broken connection to the desk is tried again: a refused token stays refused."""
    error = state.result(raise_on_failure=False)
    broken = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)
    return isinstance(error, DeskUnreachable) and isinstance(error.__cause__, broken)


@flow(name="review-pull", persist_result=False)
def review_pull(lake: str = "lake", url: str | None = None) -> dict[str, Any]:
    """Bring new annotations into the lake. Pulling twice adds nothing.

    Args:
        lake: a lake as `--lake` takes it.
        url: the Label Studio server (its token comes from LABEL_STUDIO_API_KEY); without it, the
            one of LABEL_STUDIO_URL in the worker's environment, else the one that
            `assay up label-studio` started.
    """

    @task(
        name="pull",
        retries=2,
        retry_delay_seconds=30,
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
    )
    def pull() -> dict[str, Any]:
        with open_lake(lake) as opened:
            run = new_run(tell=get_run_logger().info)
            return pull_reviews(opened, run, find_desk(url)).to_json()

    return pull()
