"""Flow runs of killed processes, on a real Prefect server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.services import Service, start_service, stop_service
from flows.orphans import PrefectUnreachable, close_orphans, name_this_process
from tests.conftest import ROOT, run_assay


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real server with nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        service = start_service("prefect")
        yield service
        stop_service(service)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("prefect")
def test_a_run_closes_the_one_that_was_killed_before_it(
    server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = f"{server.url}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    arguments = ["run", "tiny", "--lake", str(tmp_path / "lake"), "--out", str(tmp_path / "out")]
    first = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert first.stderr is not None
    assert first.stderr.readline()
    first.kill()
    first.communicate()
    second = run_assay(*arguments)
    assert second.returncode == 0, second.stderr
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        states = [run.state.type.value for run in client.read_flow_runs()]
    assert sorted(states) == ["COMPLETED", "CRASHED"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("prefect")
def test_only_the_runs_of_processes_that_are_gone_are_closed(
    server: Service,
) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Completed, Running

    @flow(name="curate")
    def curate() -> None: ...

    @flow(name="another")
    def another() -> None: ...

    code = "from flows.orphans import name_this_process; print(name_this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    gone, lives = done.stdout.strip(), name_this_process()
    assert gone != lives
    elsewhere = gone.replace("assay-process:", "assay-process:another-")
    url = f"{server.url}/api"
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:

        def start(of: Any, tag: str, state: Any) -> Any:
            return client.create_flow_run(of, tags=[tag, "mine"], state=state).id

        orphan = start(curate, gone, Running())
        others = [
            start(curate, lives, Running()),
            start(curate, elsewhere, Running()),
            start(curate, "mine", Running()),
            start(curate, gone, Completed()),
            start(another, gone, Running()),
        ]
        before = [client.read_flow_run(other).state.type for other in others]
        assert close_orphans(url) == 1
        assert client.read_flow_run(orphan).state.is_crashed()
        assert [client.read_flow_run(other).state.type for other in others] == before
        assert close_orphans(url) == 0
    stop_service(server)
    with pytest.raises(PrefectUnreachable, match=r"does not answer.*assay up prefect"):
        close_orphans(url)
