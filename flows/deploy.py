"""Deployments: the flows with their schedules on a real Prefect server."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.schedules import construct_schedule
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, PrefectException
from prefect.flows import load_flow_from_entrypoint

from engines.assets import find_asset
from pipelines.lake.places import parse_place
from schemas.errors import AssayError

FILE_KEYS = ("name", "prefect-version", "definitions", "deployments")
NEEDED = ("name", "entrypoint", "work_pool")
PASSED_ON = (
    "description", "tags", "version", "paused", "concurrency_limit", "enforce_parameter_schema",
    "triggers",
)  # fmt: skip
POOL_KEYS = ("name", "work_queue_name", "job_variables")
TIMINGS = ("cron", "interval", "rrule")
SCHEDULE_KEYS = (*TIMINGS, "timezone", "anchor_date")


class DeployFailed(AssayError):
    """The flows could not be registered; the message says what is missing."""


def deploy_flows(
    recipe: str, lake: str, file: str | None = None, out: str | Path = "out"
) -> list[str]:
    """Register every deployment of a `prefect.yaml` and give `flow/deployment` names.

    The file is Prefect's own format; `{{ recipe }}`, `{{ lake }}` and `{{ out }}` in its parameters
    are filled in here, with paths made absolute, since a worker starts each run in a temporary
    folder. A key of that format that Assay would not act on is refused, and nothing is registered
    where one deployment is broken.

    Raises:
        DeployFailed: no server is named, or it cannot be reached or refuses, or the file is broken.
        pipelines.lake.places.LakeError: `lake` is not the address of a lake.
    """
    if "PREFECT_API_URL" not in os.environ:
        raise DeployFailed(
            "a schedule needs a Prefect server that stays: run `assay up prefect`, or set "
            "PREFECT_API_URL"
        )
    source = Path(file) if file else find_asset("prefect.yaml")
    values = {
        "recipe": _make_absolute(recipe),
        "lake": make_absolute_lake(lake),
        "out": str(Path(out).absolute()),
    }
    return asyncio.run(_register(source, read_entries(source), values))


def read_entries(source: Path) -> list[dict[str, Any]]:
    """The deployments of a `prefect.yaml`, checked: without empty keys, and with none that would
    have no effect.

    Raises:
        DeployFailed: names the file, the deployment and the key.
    """
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeployFailed(f"{source}: not a YAML file: {error}") from error
    content = _check_mapping(content, str(source), ("deployments",), FILE_KEYS)
    entries = []
    listed = _check_list(content["deployments"], f"{source}: deployments")
    for number, given in enumerate(listed, 1):
        name = given.get("name") if isinstance(given, dict) else None
        where = f"{source}: deployment {name or number}"
        optional = ("parameters", "schedules", *PASSED_ON)
        entry = _check_mapping(given, where, NEEDED, (*NEEDED, *optional))
        pool = _check_mapping(entry["work_pool"], f"{where}: work_pool", ("name",), POOL_KEYS)
        schedules = []
        for timing in _check_list(entry.get("schedules", []), f"{where}: schedules"):
            schedule = _check_mapping(timing, f"{where}: schedules", (), SCHEDULE_KEYS)
            if sum(key in schedule for key in TIMINGS) != 1:
                raise DeployFailed(
                    f"{where}: schedules: each needs exactly one of {', '.join(TIMINGS)}"
                )
            schedules.append(schedule)
        entries.append({**entry, "work_pool": pool, "schedules": schedules})
    return entries


def make_absolute_lake(lake: str) -> str:
    """A `--lake` value that means the same lake from every folder.

    Raises:
        pipelines.lake.places.LakeError: it is not the address of a lake.
    """
    place = parse_place(lake)
    if place.folder is not None:
        return f"{'duckdb:' if lake.startswith('duckdb:') else ''}{place.folder}"
    if "://" in place.data_path:  # a bucket
        return lake
    parts = urlsplit(lake)
    query = {**dict(parse_qsl(parts.query)), "data_path": str(Path(place.data_path).absolute())}
    return urlunsplit(parts._replace(query=urlencode(query, safe="/")))


async def _register(
    source: Path, entries: list[dict[str, Any]], values: dict[str, str]
) -> list[str]:
    import httpx

    url = os.environ["PREFECT_API_URL"]
    deployments = [await _make_deployment(source, entry, values) for entry in entries]
    try:
        async with get_client() as client:
            for deployment in deployments:
                pool = WorkPoolCreate(name=deployment.work_pool_name, type="process")
                with contextlib.suppress(ObjectAlreadyExists):
                    await client.create_work_pool(pool)
                await deployment.aapply()
    except DeploymentApplyError as error:
        raise DeployFailed(f"{url} refuses a deployment of {source}: {error}") from error
    except httpx.HTTPError as error:
        raise DeployFailed(f"{url} cannot be reached ({error}); is the server up?") from error
    return [f"{deployment.flow_name}/{deployment.name}" for deployment in deployments]


async def _make_deployment(
    source: Path, entry: dict[str, Any], values: dict[str, str]
) -> RunnerDeployment:
    pool = entry["work_pool"]
    where, parameters = f"{source}: deployment {entry['name']}", entry.get("parameters", {})
    try:
        flow = load_flow_from_entrypoint(entry["entrypoint"])
        _check_mapping(parameters, f"{where}: parameters", (), tuple(flow.parameters.properties))
        deployment = await flow.ato_deployment(
            name=entry["name"],
            schedules=[
                construct_schedule(**{"timezone": "UTC", **schedule})
                for schedule in entry["schedules"]
            ],
            parameters=_fill(parameters, values),
            work_pool_name=pool["name"],
            work_queue_name=pool.get("work_queue_name"),
            job_variables=pool.get("job_variables"),
            **{key: entry[key] for key in PASSED_ON if key in entry},
        )
        # ato_deployment makes up one of its own, from the file that holds the flow
        deployment.entrypoint = entry["entrypoint"]
    except (PrefectException, ImportError, ValueError, TypeError, AttributeError) as error:
        raise DeployFailed(f"{where}: {error}") from error
    return deployment


def _check_mapping(
    value: Any, where: str, needed: tuple[str, ...], known: tuple[str, ...]
) -> dict[str, Any]:
    """The mapping without its empty keys."""
    if not isinstance(value, dict):
        raise DeployFailed(f"{where}: must be a mapping of keys, not {value!r}")
    given = {key: content for key, content in value.items() if content is not None}
    for key in needed:
        if key not in given:
            raise DeployFailed(f"{where}: the key {key} is missing")
    for key in given:
        if key not in known:
            raise DeployFailed(
                f"{where}: assay deploy does not act on the key {key}: take it out; it knows "
                f"{', '.join(known)}"
            )
    return given


def _check_list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise DeployFailed(f"{where}: must be a list, not {value!r}")
    return value


def _fill(parameters: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    filled = {}
    for key, value in parameters.items():
        for name, text in values.items():
            if isinstance(value, str):
                value = value.replace(f"{{{{ {name} }}}}", text)
        filled[key] = value
    return filled


def _make_absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).is_file() else name
