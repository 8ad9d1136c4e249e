"""What is installed from the wheel works without the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = {"annotators", "engines", "flows", "pipelines", "schemas"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("wheel"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel, and the dependencies of this one.

    A `.pth` file adds this environment's packages; the `.pth` files found there are not read, so
    an editable install of the checkout stays out of sight.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    done = subprocess.run(
        [*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    [site] = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def run_there(
    *command: str | Path, cwd: Path, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment,
    )


def test_the_wheel_carries_every_asset_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assets = {name.removeprefix("engines/_assets/") for name in names if "/_assets/" in name}
    data = ROOT / "data"
    assert assets == {str(f.relative_to(data)) for f in data.rglob("*") if f.is_file()}
    assert {"recipes/tiny.yaml", "recipes/quickstart.yaml", "prefect.yaml"} <= assets
    modules = {str(f.relative_to(ROOT)) for top in PACKAGES for f in (ROOT / top).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert not [name for name in names if re.search(r"(?:^|[/_])tests?(?:[/_.]|$)", name)]


def test_the_wheel_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "; ".join(["import json", *(f"import {name}" for name in sorted(PACKAGES))])
    listing = ", ".join(f"{name}.__file__" for name in sorted(PACKAGES))
    found = run_there(installed / "python", "-c", f"{code}; print(json.dumps([{listing}]))",
                      cwd=tmp_path)  # fmt: skip
    assert found.returncode == 0, found.stderr
    home = installed.parent.resolve()
    assert all(Path(file).resolve().is_relative_to(home) for file in json.loads(found.stdout))

    doctor = run_there(installed / "assay", "doctor", "--json", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    report = json.loads(doctor.stdout)
    details = {finding["name"]: finding["detail"] for finding in report["findings"]}
    assert report["ok"] and Path(details["assets"]).resolve().is_relative_to(home)

    done = run_there(
        installed / "assay", "run", "tiny", "--lake", "lake", "--out", "out", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["version"], result["rows"], result["new"]) == ("tiny@1", 12, True)
    stamp = json.loads((tmp_path / "out" / "export" / "tiny@1" / "assay.json").read_text())
    assert stamp["fingerprint"] == result["fingerprint"]
    page = (tmp_path / "out" / "report" / "tiny@1.html").read_text("utf-8")
    assert result["fingerprint"][:12] in page and "tiny@1" in page

    listed = run_there(installed / "assay", "versions", "--lake", "lake", "--json", cwd=tmp_path)
    [version] = json.loads(listed.stdout)["versions"]
    assert (version["name"], version["version"]) == ("tiny", 1)
    assert version["fingerprint"] == result["fingerprint"]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_what_the_wheel_declares_is_all_it_needs(wheel: Path, tmp_path: Path) -> None:
    """An empty environment gets the wheel and what it asks for, at the versions of the lock file
    (which pins torch to the build of the index), and nothing else: what is not declared is missing.
    """
    bin_folder = tmp_path / "venv" / "bin"
    venv.create(bin_folder.parent, with_pip=True)
    lock = ROOT / "data" / "environments" / "assay.lock"
    pip = bin_folder / "pip"
    done = run_there(
        pip, "install", "--quiet", "--constraint", lock, wheel, cwd=tmp_path, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    check = run_there(pip, "check", cwd=tmp_path)
    assert check.returncode == 0, check.stdout

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    doctor = run_there(bin_folder / "assay", "doctor", "--json", cwd=elsewhere)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    done = run_there(
        bin_folder / "assay", "run", "tiny", "--lake", "lake", "--out", "out", "--json",
        cwd=elsewhere,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["version"], result["rows"]) == ("tiny@1", 12)
    assert (elsewhere / result["export"] / "assay.json").is_file()
    # what the commands load late is declared, too
    code = (
        "import annotators.desk, engines.embedder, flows.deploy, flows.review, "
        "pipelines.clean.kernels.bands; "
        "import httpx, label_studio_sdk, math_verify, reasoning_gym, scipy.sparse, trl; "
        "from engines.embedder import embed_texts; assert embed_texts(['a']).shape == (1, 384)"
    )
    done = run_there(bin_folder / "python", "-c", code, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
