"""What tests share: a home of their own, real services, small recipes, the real pools."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import settings

from engines.assets import assay_home
from engines.chat import Endpoint
from engines.models import ResolvedModel, ensure_embedded, open_endpoint, resolve_model
from engines.services import Service, list_services, start_service, stop_service
from schemas.recipe import ModelSpec, Recipe, parse_recipe

ROOT = Path(__file__).parents[1]

# no deadline: a busy machine is no failure
settings.register_profile("assay", deadline=None, max_examples=20)
settings.load_profile("assay")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process where they share what its fixtures made."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        shared = any(
            definition.scope == "module"
            for name in fixtures
            for definition in item.session._fixturemanager.getfixturedefs(name, item) or ()
        )
        if shared and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def home_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An Assay home for this process, which borrows installed environments, machine code and
    weights; whatever was started from it is stopped at the end."""
    real = assay_home()
    home = tmp_path_factory.mktemp("home")
    for name in ("envs", "kernels", "models"):
        (real / name).mkdir(exist_ok=True)
        (home / name).symlink_to(real / name)
    before = os.environ.get("ASSAY_HOME")
    os.environ["ASSAY_HOME"] = str(home)
    yield home
    for service in list_services():
        stop_service(service)
    if before is None:
        del os.environ["ASSAY_HOME"]
    else:
        os.environ["ASSAY_HOME"] = before


@pytest.fixture(scope="session", autouse=True)
def one_thread_a_lake() -> Iterator[None]:
    """Several test processes share the cores, and DuckDB takes twice the CPU to hand a small query
    round two threads."""
    connect = duckdb.connect

    def connect_alone(*words: Any, config: dict[str, Any] | None = None, **more: Any) -> Any:
        return connect(*words, config={"threads": "1", **(config or {})}, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", connect_alone)
        yield


@pytest.fixture(scope="session")
def label_studio() -> Service:
    """A real Label Studio, installed on demand."""
    return start_service("label-studio")


@pytest.fixture(scope="session")
def model() -> ResolvedModel:
    """The embedded model."""
    return resolve_model(ModelSpec())


@pytest.fixture(scope="session")
def endpoint(model: ResolvedModel) -> Endpoint:
    """The embedded model behind a real vLLM, which stays for the tests of the group `vllm`."""
    start_service("vllm", model=str(ensure_embedded()), served_name=model.name)
    return open_endpoint(model)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real pools; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("ASSAY_REALDATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real pools are not at {folder}; set ASSAY_REALDATA to run these tests")
    return folder


def make_recipe(url: str | None = None, **changes: Any) -> Recipe:
    """A small recipe: 12 word problems, two rollouts each and a judge, on the model at `url`."""
    content: dict[str, Any] = {
        "name": "small",
        "models": {"m": {"model": "stub", "url": url, "concurrency": 16, "max_tries": 2}},
        "prompts": {"arithmetic": {"count": 12}},
        "rollouts": [{"model": "m", "n": 2, "max_tokens": 32}],
        "judges": [{"name": "pairwise", "model": "m"}],
        "train": None,
    }
    return parse_recipe({**content, **changes})


def write_recipe(file: Path, recipe: Recipe) -> Path:
    """The recipe as a YAML file (JSON is YAML)."""
    file.write_text(json.dumps(recipe.model_dump(mode="json")))
    return file


def run_assay(
    *arguments: str | Path, timeout: float = 300, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd or ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run_here(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process: what it says and how it ends, without the seconds that
    a process of its own takes to start. Not for what runs a flow."""
    from flows import cli

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    command = ["assay", *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in ("gc.set_threshold", "atexit.register"):  # they are for a process of its own
            patch.setattr(f"flows.cli.{name}", lambda *_: None)
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(command, ended.value.code, *said)
