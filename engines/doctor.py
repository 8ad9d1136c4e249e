"""What this machine has and lacks, and the one command that mends each."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from packaging.requirements import Requirement

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
    """Look at Python, the packages that Assay's own metadata asks for, the disk, the model, the
    environments of the services and the GPU. Starts and installs nothing."""
    checks: list[Callable[[], Finding]] = [
        _check_python,
        _check_assets,
        *[_package_check(requirement) for requirement in list_requirements()],
        _check_disk,
        _check_model,
        *[_environment_check(name) for name in ("vllm", "label-studio")],
        _check_gpu,
    ]
    return [check() for check in checks]


def list_requirements() -> list[Requirement]:
    """What the installed distribution `assay` requires here, without the extras it offers."""
    declared = [Requirement(text) for text in importlib.metadata.requires("assay") or []]
    return [r for r in declared if r.marker is None or r.marker.evaluate({"extra": ""})]


def _check_python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    mend = "python3.11 -m venv .venv, and install Assay there"
    return Finding("python", sys.version_info >= (3, 11), True, found, mend)


def _check_assets() -> Finding:
    folder = assets_folder()
    ok = (folder / "recipes" / "quickstart.yaml").is_file()
    return Finding(
        "assets", ok, True, str(folder), "pip install --force-reinstall --no-deps WHEEL_OF_ASSAY"
    )


def _package_check(requirement: Requirement) -> Callable[[], Finding]:
    name = requirement.name
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    mend = f"pip install '{name}{extras}{requirement.specifier}'"

    def check() -> Finding:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return Finding(name, False, True, "not installed", mend)
        if requirement.specifier.contains(found, prereleases=True):
            return Finding(name, True, True, found, mend)
        return Finding(name, False, True, f"{found}, not {requirement.specifier}", mend)

    return check


def _check_disk() -> Finding:
    home = assay_home()
    free = shutil.disk_usage(home).free / 2**30
    detail = f"{free:.0f} GiB free at {home}"
    return Finding(
        "disk",
        free >= NEEDED_GIB,
        False,
        detail,
        f"free {NEEDED_GIB:.0f} GiB there, or export ASSAY_HOME=FOLDER_ON_A_LARGER_DISK",
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
    mend = (
        "python3.11 -m venv vllm && vllm/bin/pip install vllm && "
        'export ASSAY_VLLM_PYTHON="$PWD/vllm/bin/python"'
    )
    return Finding("gpu", ok, False, detail, mend)
