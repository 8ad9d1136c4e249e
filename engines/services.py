"""The local services: vLLM, Label Studio and a Prefect server, on loopback and a free port.

What runs is written to `assay_home()/services/<name>.json`, so that a later command finds and
reuses it, and `assay down` can stop what a killed run has left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from engines.assets import assay_home, hash_folder
from engines.environments import ensure_environment
from engines.processes import is_running, name_process, read_start
from schemas.errors import AssayError

KINDS = ("vllm", "label-studio", "prefect")
READY_SECONDS = {"vllm": 300.0, "label-studio": 240.0, "prefect": 120.0}


class ServiceFailed(AssayError):
    """A service did not come up; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Service:
    """A running service. `owner` is `run` where a run started it for itself (and stops it), `up`
    where a person asked for it. `token` opens it and is never printed."""

    name: str
    kind: str
    url: str
    pid: int
    started: int
    log: str
    owner: str
    model: str | None = None
    token: str | None = field(default=None, repr=False)


def start_service(
    kind: str,
    *,
    model: str | None = None,
    served_name: str | None = None,
    revision: str | None = None,
    owner: str = "up",
    tell: Callable[[str], None] = lambda _: None,
) -> Service:
    """Start a service and wait until it answers; one that runs already is reused.

    Args:
        kind: `vllm` (needs `model`, a checkpoint folder or hub id), `label-studio` or `prefect`.
        served_name: the name under which vLLM serves the model.
        revision: of a hub id. It is part of the service's name, as the state of a checkpoint
            folder is, so that other weights under the same name get a server of their own.

    Raises:
        ServiceFailed: it ended or did not answer in time.
        engines.environments.EnvironmentFailed: its environment cannot be made.
    """
    if kind not in KINDS:
        raise ServiceFailed(f"{kind}: no such service; known: {', '.join(KINDS)}")
    name = kind
    if model is not None:
        served_name = served_name or model
        weights = Path(model)
        if weights.exists():  # vLLM starts in another folder
            model, revision = str(weights.absolute()), None
        state = hash_folder(weights) if weights.is_dir() else revision
        name = f"{kind}-{served_name}{f'-{state[:12]}' if state else ''}".replace("/", "--")
    folder = assay_home() / "services"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = find_service(name)
        if running and _answers(running):
            _note_user(name)
            return running
        if running:
            stop_service(running)
        port = _label_studio_port() if kind == "label-studio" else find_free_port()
        python = Path(sys.executable) if kind == "prefect" else ensure_environment(kind, tell)
        token = _label_studio_token() if kind == "label-studio" else None
        command, environment = _make_command(
            kind, python, port, model, served_name, revision, token, owner
        )
        log = folder / f"{name}.log"
        tell(f"starting {name} (log: {log})")
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                cwd=folder,
                start_new_session=True,
            )
        service = Service(
            name=name,
            kind=kind,
            url=f"http://127.0.0.1:{port}",
            pid=process.pid,
            started=read_start(process.pid) or 0,
            log=str(log),
            owner=owner,
            model=model,
            token=token,
        )
        _state_file(name).touch(mode=0o600)
        _state_file(name).write_text(json.dumps(asdict(service)))
        _wait_until_ready(service, process)
        _note_user(name)
    tell(f"{name} answers at {service.url}")
    return service


def find_service(name: str) -> Service | None:
    """The service of that name, if its process lives."""
    file = _state_file(name)
    try:
        service = Service(**json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if _is_alive(service):
        return service
    file.unlink(missing_ok=True)
    return None


def list_services() -> list[Service]:
    """Every service that runs, by name."""
    folder = assay_home() / "services"
    found = (find_service(file.stem) for file in sorted(folder.glob("*.json")))
    return [service for service in found if service]


def stop_service(service: Service) -> None:
    """End a service and every process it started."""
    if _is_alive(service):
        children = psutil.Process(service.pid).children(recursive=True)
        _signal_group(service.pid, signal.SIGTERM)
        _, left = psutil.wait_procs([psutil.Process(service.pid), *children], timeout=10)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=10)
    _state_file(service.name).unlink(missing_ok=True)
    for user in _users_folder(service.name).iterdir():
        user.unlink(missing_ok=True)  # of this server, not of the next of that name


def release_services(kinds: Sequence[str] = KINDS) -> None:
    """Let go of the services that this process used: those that runs started for themselves and
    that no other living process uses are stopped; what `assay up` started stays."""
    for name in [service.name for service in list_services() if service.kind in kinds]:
        with (assay_home() / "services" / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            service = find_service(name)  # another process may have put another in its place
            users = _users_folder(name)
            (users / name_process(os.getpid())).unlink(missing_ok=True)
            for user in users.iterdir():
                if not is_running(user.name):
                    user.unlink()  # it was killed, whoever has its number now
            if service and service.owner == "run" and not any(users.iterdir()):
                stop_service(service)


def find_free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _make_command(
    kind: str,
    python: Path,
    port: int,
    model: str | None,
    served_name: str | None,
    revision: str | None,
    token: str | None,
    owner: str,
) -> tuple[Sequence[str], Mapping[str, str]]:
    if kind == "vllm":
        return _make_vllm_command(python, port, model or "", served_name or "", revision)
    if kind == "label-studio":
        return _make_label_studio_command(python, port, token or "")
    return _make_prefect_command(python, port, owner)


def _make_prefect_command(
    python: Path, port: int, owner: str
) -> tuple[Sequence[str], Mapping[str, str]]:
    """A server for one run needs neither the scheduler nor the pages; one that stays has both."""
    command = [
        str(python), "-m", "prefect", "server", "start", "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip
    environment = {
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    if owner == "run":
        command += ["--no-services", "--no-ui"]
    return command, environment


def _make_vllm_command(
    python: Path, port: int, model: str, served_name: str, revision: str | None
) -> tuple[Sequence[str], Mapping[str, str]]:
    """On CPU: float32, for a judge's logit gaps drown in bfloat16; and no chunked prefill, for a
    seeded request prefilled in chunks kills the CPU engine."""
    command = [
        str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", model,
        "--served-model-name", served_name, "--host", "127.0.0.1", "--port", str(port),
        "--enable-prefix-caching",
    ]  # fmt: skip
    if revision:
        command += ["--revision", revision]
    environment = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if Path(model).exists():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if "ASSAY_VLLM_PYTHON" not in os.environ:
        command += [
            "--dtype", "float32", "--enforce-eager", "--no-enable-chunked-prefill",
            "--max-model-len", "4096", "--max-num-batched-tokens", "8192",
            "--max-num-seqs", "64",
        ]  # fmt: skip
        environment |= {
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
            "VLLM_CPU_KVCACHE_SPACE": "2",
            # on a busy machine its probe for a compiler outlasts what the engine waits for a step
            "TORCHDYNAMO_DISABLE": "1",
        }
    return command, environment


def _make_label_studio_command(
    python: Path, port: int, token: str
) -> tuple[Sequence[str], Mapping[str, str]]:
    """User and token go by the environment: arguments can be read by anyone in `ps`. The desk's
    content security policy is enforced, which by itself it only reports."""
    command = [
        str(python), "-m", "label_studio.server", "start", "--no-browser",
        "--internal-host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(_label_studio_folder()),
        "LABEL_STUDIO_USERNAME": "assay@localhost.local",
        "LABEL_STUDIO_PASSWORD": token,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "COLLECT_ANALYTICS": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "False",
        "LS_CSP_REPORT_ONLY": "False",
    }
    return command, environment


def _label_studio_folder() -> Path:
    folder = assay_home() / "label-studio"
    folder.mkdir(exist_ok=True)
    return folder


def _label_studio_port() -> int:
    """The same port as last time where it is free: people remember the desk by its address."""
    file = _label_studio_folder() / "port"
    port = int(file.read_text()) if file.exists() else 0
    with socket.socket() as probe:
        # as the desk itself does: connections that are closing do not keep the port
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            port = 0
    port = port or find_free_port()
    file.write_text(str(port))
    return port


def _label_studio_token() -> str:
    """The token (and password) of the local user: Label Studio takes it when it creates the user
    on its first start and never again, so it is made once and kept beside the data."""
    file = _label_studio_folder() / "token"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(20))
    return file.read_text()


def _wait_until_ready(service: Service, process: subprocess.Popen[bytes]) -> None:
    limit = READY_SECONDS[service.kind]
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _state_file(service.name).unlink(missing_ok=True)
            raise ServiceFailed(f"{service.name} ended with {process.returncode}: {_tail(service)}")
        if _answers(service):
            return
        time.sleep(0.25)
    stop_service(service)
    raise ServiceFailed(f"{service.name} did not answer within {limit:.0f} s: {_tail(service)}")


def _answers(service: Service) -> bool:
    path = {"prefect": "/api/health"}.get(service.kind, "/health")
    try:
        with urllib.request.urlopen(service.url + path, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _is_alive(service: Service) -> bool:
    try:
        if read_start(service.pid) != service.started:
            return False
        return bool(psutil.Process(service.pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _users_folder(name: str) -> Path:
    folder = assay_home() / "services" / f"{name}.users"
    folder.mkdir(exist_ok=True)
    return folder


def _note_user(name: str) -> None:
    (_users_folder(name) / name_process(os.getpid())).touch()


def _state_file(name: str) -> Path:
    return assay_home() / "services" / f"{name}.json"


def _tail(service: Service, lines: int = 15) -> str:
    text = Path(service.log).read_text(errors="replace").splitlines()
    return "\n".join([f"the last lines of {service.log}:", *text[-lines:]])
