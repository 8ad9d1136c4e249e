"""Local services: found again, shared, and stopped by the last run that used them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.models import open_endpoint, resolve_model
from engines.services import (
    ServiceFailed,
    _label_studio_port,
    find_service,
    list_services,
    release_services,
    start_service,
    stop_service,
)
from schemas.recipe import ModelSpec
from tests.conftest import ROOT

BORROW = """
import sys
from engines.services import release_services, start_service
service = start_service("prefect", owner="run")
print(service.pid, flush=True)
sys.stdin.readline()
release_services()
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path))


def borrow() -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", BORROW],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_last_user_stops_a_borrowed_server_even_after_a_kill() -> None:
    first, server = borrow()
    second, same = borrow()
    assert server == same
    first.communicate("done\n", timeout=60)
    assert find_service("prefect") is not None  # the second still uses it
    second.kill()
    second.wait()
    third, found = borrow()  # what a killed run left is used and then stopped
    assert found == server
    third.communicate("done\n", timeout=60)
    assert list_services() == []


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_a_person_started_stays_until_a_person_stops_it() -> None:
    service = start_service("prefect")
    assert start_service("prefect", owner="run").pid == service.pid
    release_services()
    with urllib.request.urlopen(f"{service.url}/api/health", timeout=10) as answer:
        assert answer.status == 200
    assert service.url.startswith("http://127.0.0.1:")
    stop_service(service)
    assert list_services() == []


def test_a_service_that_ends_is_named_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_VLLM_PYTHON", sys.executable)  # has no vllm
    with pytest.raises(ServiceFailed, match=r"vllm-x ended with 1(?s:.*)No module named 'vllm'"):
        start_service("vllm", model="x")
    with pytest.raises(ServiceFailed, match="no such service; known: vllm"):
        start_service("nginx")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_who_used_a_stopped_server_does_not_keep_the_next_one_alive() -> None:
    stop_service(start_service("prefect"))  # this process lives on
    process, _ = borrow()
    process.communicate("done\n", timeout=60)
    assert list_services() == []


FAKE_VLLM = """#!{python}
import http.server, json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
port = int(arguments[arguments.index("--port") + 1])
Path("asked.jsonl").open("a").write(json.dumps(arguments) + "\\n")
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Health).serve_forever()
"""


@pytest.fixture
def fake_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    """A server that only says that it is well; gives the arguments of each start."""
    file = tmp_path / "fake-python"
    file.write_text(FAKE_VLLM.replace("{python}", sys.executable))
    file.chmod(0o755)
    monkeypatch.setenv("ASSAY_VLLM_PYTHON", str(file))
    log = tmp_path / "services" / "asked.jsonl"
    yield lambda: [json.loads(line) for line in log.read_text().splitlines()]
    for service in list_services():
        stop_service(service)


def value_of(arguments: list[str], option: str) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments else None


def test_a_changed_checkpoint_gets_a_server_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_vllm: Callable[[], list[Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "ckpt"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_text("old")
    up = start_service("vllm", model="./ckpt", served_name="./ckpt")
    old = resolve_model(ModelSpec(model="./ckpt"))
    assert old.policy == f"./ckpt@{old.revision}"  # no matter where the checkout lies
    assert open_endpoint(old).url == f"{up.url}/v1"  # a run finds what a person started
    (checkpoint / "model.safetensors").write_text("newer")
    new = resolve_model(ModelSpec(model="./ckpt"))
    assert new.revision != old.revision
    assert open_endpoint(new).url != f"{up.url}/v1"
    assert len(list_services()) == 2
    for arguments in fake_vllm():
        assert value_of(arguments, "--model") == str(checkpoint)  # it starts in another folder
        assert value_of(arguments, "--served-model-name") == "./ckpt"
        assert value_of(arguments, "--revision") is None


def test_the_revision_of_a_hub_model_reaches_its_server(
    fake_vllm: Callable[[], list[Any]],
) -> None:
    specs = [ModelSpec(model="org/name", revision=r) for r in (None, "v1", "v2", "v1")]
    urls = [open_endpoint(resolve_model(spec)).url for spec in specs]
    assert len(set(urls)) == 3
    assert urls[3] == urls[1]
    started = fake_vllm()
    assert [value_of(arguments, "--revision") for arguments in started] == [None, "v1", "v2"]
    assert {value_of(arguments, "--model") for arguments in started} == {"org/name"}
    assert start_service("vllm", model="org/name", served_name="org/name").url == urls[0][:-3]


def test_a_server_that_took_the_place_of_ours_is_left_alone(
    fake_vllm: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = start_service("vllm", model="x", owner="run")
    stop_service(ours)
    theirs = start_service("vllm", model="x", owner="up")
    # what `release_services` sees when all this happens after it has looked
    monkeypatch.setattr("engines.services.list_services", lambda: [ours])
    release_services()
    assert find_service(theirs.name) == theirs


def test_the_desk_keeps_its_port_while_old_connections_close(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the desk's does
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        folder = tmp_path / "label-studio"
        folder.mkdir()
        (folder / "port").write_text(str(port))
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()  # who closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""
        assert _label_studio_port() != port  # it listens yet
        (folder / "port").write_text(str(port))
    assert _label_studio_port() == port
