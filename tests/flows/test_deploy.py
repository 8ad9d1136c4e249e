"""Schedules on a real Prefect server, and a scheduled run by a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engines.services import Service, start_service, stop_service
from flows.deploy import DeployFailed, deploy_flows, make_absolute_lake, read_entries
from pipelines.lake.catalogue import open_lake
from pipelines.ship.publish import find_version
from tests.conftest import ROOT, run_assay

NIGHTLY, PULL = "curate/nightly", "review-pull/every-ten-minutes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Prefect server as `assay up prefect` starts it, with nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        service = start_service("prefect")
        yield service
        stop_service(service)


@pytest.fixture(scope="module")
def deployed(server: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder from which the flows were deployed, twice: the second time changes nothing."""
    folder = tmp_path_factory.mktemp("deployed")
    for _ in range(2):
        done = deploy(folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"deployments": [NIGHTLY, PULL]}
    return folder


def deploy(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Deploy with a relative lake, from a folder that is not the checkout."""
    return run_assay(
        "deploy", "--recipe", "tiny", "--lake", "lake", "--out", "out", "--json", *more, cwd=folder
    )


def write_entry(folder: Path, **changes: Any) -> Path:
    """A prefect.yaml of one deployment (JSON is YAML)."""
    entry = {
        "name": "mine",
        "entrypoint": "flows.review.review_pull",
        "parameters": {"lake": "{{ lake }}"},
        "work_pool": {"name": "assay"},
        "schedules": [{"cron": "0 2 * * *"}],
        **changes,
    }
    file = folder / "mine.yaml"
    file.write_text(json.dumps({"deployments": [entry]}))
    return file


def ask(server: Service, work: Any) -> Any:
    """What `work` gets from the client of that server."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    async def run() -> Any:
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
            async with get_client() as client:
                return await work(client)

    return asyncio.run(run())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("prefect")
def test_both_flows_are_deployed_with_their_schedules(server: Service, deployed: Path) -> None:
    async def read(client: Any) -> tuple[dict[str, Any], Any]:
        found = await client.read_deployments()
        named = {d.name: await client.read_deployment_by_name(f"{flow}/{d.name}") for d in found
                 for flow in [(await client.read_flow(d.flow_id)).name]}  # fmt: skip
        return named, await client.read_work_pool("assay")

    deployments, pool = ask(server, read)
    assert set(deployments) == {"nightly", "every-ten-minutes"}
    assert pool.type == "process"
    schedules = {
        name: [(s.schedule.cron, s.schedule.timezone, s.active) for s in deployment.schedules]
        for name, deployment in deployments.items()
    }
    assert schedules == {
        "nightly": [("0 2 * * *", "UTC", True)],
        "every-ten-minutes": [("*/10 * * * *", "UTC", True)],
    }
    lake = str(deployed / "lake")
    nightly = {"recipe": "tiny", "lake": lake, "out": str(deployed / "out")}
    assert deployments["nightly"].parameters == nightly
    assert deployments["every-ten-minutes"].parameters == {"lake": lake}
    assert {d.work_pool_name for d in deployments.values()} == {"assay"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("prefect")
def test_a_notice_from_the_desk_brings_the_next_pull_forward(
    server: Service, deployed: Path
) -> None:
    async def read(client: Any) -> tuple[Any, Any]:
        return await client.read_automations(), await client.read_deployment_by_name(PULL)

    automations, deployment = ask(server, read)
    (automation,) = automations  # deployed twice, it is one still
    assert automation.enabled and automation.trigger.expect == {"assay.review.annotated"}

    async def count(client: Any) -> int:
        from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

        wanted = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
        runs = await client.read_flow_runs(deployment_filter=wanted)
        return sum(not run.auto_scheduled for run in runs)

    assert ask(server, count) == 0
    hint = subprocess.run(
        [sys.executable, "-c", "from flows.listening import emit_hint; emit_hint()"],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": f"{server.url}/api"},
        timeout=180,
    )
    assert hint.returncode == 0
    end = time.monotonic() + 60
    while not ask(server, count) and time.monotonic() < end:
        time.sleep(1)
    assert ask(server, count) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("prefect")
def test_a_worker_runs_the_nightly_curation(server: Service, deployed: Path) -> None:
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    async def order(client: Any) -> Any:
        deployment = await client.read_deployment_by_name(NIGHTLY)
        return await client.create_flow_run_from_deployment(deployment.id)

    ordered = ask(server, order)
    worker = subprocess.run(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "assay", "--run-once"],
        cwd=deployed,
        capture_output=True,
        text=True,
        timeout=280,
        env={
            **os.environ,
            "PREFECT_API_URL": f"{server.url}/api",
            "PREFECT_HOME": str(deployed / "prefect"),
            "PYTHONPATH": str(ROOT),
        },
    )
    words = worker.stdout + worker.stderr

    async def look(client: Any) -> Any:
        flow_run = await client.read_flow_run(ordered.id)
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[ordered.id]))
        return flow_run, await client.read_artifacts(artifact_filter=of_run)

    flow_run, artifacts = ask(server, look)
    assert flow_run.state.is_completed(), f"{flow_run.state}\n{words[-4000:]}"
    with open_lake(deployed / "lake") as lake:
        version = find_version(lake, "tiny@1")
    assert version.rows == 12
    report = deployed / "out" / "report" / "tiny@1.html"
    assert report.is_file()
    assert (deployed / "out" / "export" / "tiny@1" / "assay.json").is_file()
    data = {artifact.key: artifact.data for artifact in artifacts}
    assert data.keys() == {"assay-report", "assay-version"}
    assert data["assay-report"] == f"[report of tiny@1]({report.as_uri()})"
    assert version.fingerprint in data["assay-version"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("prefect")
def test_a_file_of_ones_own_is_taken_whole(server: Service, tmp_path: Path) -> None:
    file = write_entry(
        tmp_path,
        tags=["team"],
        concurrency_limit=1,
        schedules=[
            {"cron": "5 1 * * *", "timezone": "Europe/Berlin"},
            {"interval": 900},
            {"rrule": "FREQ=WEEKLY"},
        ],
    )
    done = deploy(tmp_path, "--file", str(file))
    assert done.returncode == 0, done.stderr

    async def read(client: Any) -> Any:
        found = await client.read_deployment_by_name("review-pull/mine")
        await client.delete_deployment(found.id)
        return found

    deployment = ask(server, read)
    schedules = [s.schedule for s in deployment.schedules]
    (cron,) = (s for s in schedules if hasattr(s, "cron"))
    (interval,) = (s for s in schedules if hasattr(s, "interval"))
    assert (cron.cron, cron.timezone) == ("5 1 * * *", "Europe/Berlin")
    assert interval.interval.total_seconds() == 900
    assert len(schedules) == 3
    assert (deployment.tags, deployment.concurrency_limit) == (["team"], None)
    assert deployment.global_concurrency_limit.limit == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"entrypoint": "flows.nothing.here"}, "flows.nothing"),
        ({"schedules": [{"cron": "every day"}]}, "cron"),
        ({"parameters": {"no_such": 1}}, "act on the key no_such"),
        ({"parameters": ["lake"]}, "parameters: must be a mapping"),
    ],
)
def test_what_a_flow_cannot_take_is_refused_before_the_server_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    file = write_entry(tmp_path, **changes)
    with pytest.raises(DeployFailed, match=f"(?s)^{file}: deployment mine: .*{words}"):
        deploy_flows("tiny", str(tmp_path / "lake"), str(file))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "deployment 1: the key name is missing"),
        ({"work_pool": None}, "deployment mine: the key work_pool is missing"),
        ({"work_pool": "assay"}, "deployment mine: work_pool: must be a mapping"),
        ({"work_pool": {"work_queue_name": "q"}}, "mine: work_pool: the key name is missing"),
        ({"pull": [{"git": {}}]}, "deployment mine: assay deploy does not act on the key pull"),
        ({"schedules": {"cron": "* * * * *"}}, "deployment mine: schedules: must be a list"),
        ({"schedules": [{"timezone": "UTC"}]}, "mine: schedules: each needs exactly one of cron"),
        ({"schedules": [{"cron": "* * * * *", "active": False}]}, "schedules: .* the key active"),
    ],
)
def test_a_broken_entry_names_file_deployment_and_key(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    file = write_entry(tmp_path, **changes)
    with pytest.raises(DeployFailed, match=f"{file}: .*{words}"):
        read_entries(file)


def test_a_lake_means_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    team = "postgresql://me@db:5432/team"
    assert make_absolute_lake("lake") == f"{tmp_path}/lake"
    assert make_absolute_lake("duckdb:lake") == f"duckdb:{tmp_path}/lake"
    assert make_absolute_lake(f"{team}?sslmode=require&data_path=lake%20data") == (
        f"{team}?sslmode=require&data_path={tmp_path}/lake+data"
    )
    for there in (f"{team}?data_path=/mnt/lake", f"{team}?data_path=s3://bucket/lake"):
        assert make_absolute_lake(there) == there


def test_without_a_server_deploy_names_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(DeployFailed, match="assay up prefect"):
        deploy_flows("tiny", str(tmp_path / "lake"))


def test_a_server_that_is_gone_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(DeployFailed, match=f"^{url} cannot be reached"),
    ):
        deploy_flows("tiny", str(tmp_path / "lake"))
