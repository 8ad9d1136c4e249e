"""Flow runs whose process was killed: a server that stays would show them as running for ever."""

from __future__ import annotations

import os
import platform

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from engines.processes import is_running, name_process
from schemas.errors import AssayError


class PrefectUnreachable(AssayError):
    """The Prefect server that the environment names does not answer."""


def name_this_process() -> str:
    """The tag for a flow run of this process: its machine, number and start."""
    return f"{_tag_of_machine()}{name_process(os.getpid())}"


def close_orphans(api_url: str, flow: str = "curate") -> int:
    """Mark as Crashed the runs of a flow that are Running and tagged (`name_this_process`) by a
    process of this machine that is gone; gives how many they were.

    Raises:
        PrefectUnreachable: there is no server at `api_url`, or it is not well.
    """
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    )
    closed = 0
    with (
        temporary_settings({PREFECT_API_URL: api_url}),
        get_client(sync_client=True) as client,
    ):
        error = client.api_healthcheck()
        if error is not None:
            raise PrefectUnreachable(
                f"the Prefect server at {api_url} (PREFECT_API_URL) does not answer: {error}; "
                "start one with `assay up prefect`, or unset the variable"
            )
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])), flow_run_filter=wanted
        )
        for run in runs:
            if any(_is_gone(tag) for tag in run.tags):
                state = Crashed(message="the process that ran this was killed")
                client.set_flow_run_state(run.id, state, force=True)
                closed += 1
    return closed


def _tag_of_machine() -> str:
    return f"assay-process:{platform.node()}:"


def _is_gone(tag: str) -> bool:
    machine = _tag_of_machine()
    return tag.startswith(machine) and not is_running(tag.removeprefix(machine))
