"""The environments of the services: made on demand from a lock file, checked by importing.

vLLM and Label Studio pin what Prefect cannot live with, so each runs in a virtual environment of
its own under `assay_home()/envs`, named by the hash of its lock file.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from engines.assets import assay_home, find_asset
from schemas.errors import AssayError
from schemas.ids import hash_text

CHECKS = {
    "vllm": "import vllm.entrypoints.openai.api_server",
    "label-studio": "import label_studio.server, label_studio.core.settings.base",
}
PYTHON_VARIABLES = {"vllm": "ASSAY_VLLM_PYTHON", "label-studio": "ASSAY_LABEL_STUDIO_PYTHON"}


class EnvironmentFailed(AssayError):
    """An environment could not be made; the message names the log."""


def find_environment(name: str) -> Path | None:
    """The Python of a ready environment, or None. `ASSAY_VLLM_PYTHON` names one of your own (the
    CUDA build of vLLM, say)."""
    given = os.environ.get(PYTHON_VARIABLES[name])
    if given:
        return Path(given)
    folder = _folder(name)
    return folder / "bin" / "python" if (folder / ".ready").exists() else None


def ensure_environment(name: str, tell: Callable[[str], None] = lambda _: None) -> Path:
    """The Python of environment `name` (`vllm` or `label-studio`), installed if it is not there.

    Raises:
        EnvironmentFailed: the installation failed, or what it is for cannot be imported.
    """
    found = find_environment(name)
    if found:
        return found
    folder = _folder(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".ready").exists():
            tell(f"installing the {name} environment (once, a few minutes)")
            _install(name, folder)
            tell(f"the {name} environment is ready: {folder}")
    return folder / "bin" / "python"


def _folder(name: str) -> Path:
    text = find_asset(f"environments/{name}.lock").read_text()
    tag = f"{sys.version_info.major}.{sys.version_info.minor}-{hash_text(text)[:10]}"
    return assay_home() / "envs" / f"{name}-{tag}"


def _install(name: str, folder: Path) -> None:
    lock_file = find_asset(f"environments/{name}.lock")
    python = folder / "bin" / "python"
    log = folder.parent / f"{folder.name}.log"
    steps = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--no-deps", "--disable-pip-version-check",
         "--quiet", "-r", str(lock_file)],
        [str(python), "-c", CHECKS[name]],
    ]  # fmt: skip
    with log.open("w") as output:
        for step in steps:
            output.write(f"$ {' '.join(step)}\n")
            output.flush()
            done = subprocess.run(step, stdout=output, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                raise EnvironmentFailed(
                    f"the {name} environment could not be made: `{' '.join(step[:4])} …` ended "
                    f"with {done.returncode}; its log is {log}. Mend the cause (network, disk) and "
                    f"run `assay up {name}`"
                )
    (folder / ".ready").touch()
