"""The doctor: every declared package is looked for, and each mend is a command."""

from __future__ import annotations

import importlib.metadata

import pytest

from engines.doctor import Finding, diagnose, list_requirements

REQUIRES = [
    "polars>=2.1",
    "psycopg[binary]>=3.2",
    "reasoning-gym>=0.1.25",
    "elsewhere>=1; sys_platform == 'nowhere'",
    "notebook>=7; extra == 'docs'",
]
VERSIONS = {"polars": "2.1.0", "psycopg": "3.3.0", "reasoning-gym": "0.1.25"}


def diagnose_with(patch: pytest.MonkeyPatch, **versions: str | None) -> dict[str, Finding]:
    """What the doctor says where Assay requires REQUIRES and these versions are installed."""
    found = {**VERSIONS, **{name.replace("_", "-"): v for name, v in versions.items()}}

    def version(name: str) -> str:
        if found.get(name) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return str(found[name])

    patch.setattr(importlib.metadata, "requires", {"assay": REQUIRES}.get)
    patch.setattr(importlib.metadata, "version", version)
    return {finding.name: finding for finding in diagnose()}


def test_what_is_declared_is_checked_and_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = diagnose_with(monkeypatch)
    assert all(findings[name].ok and findings[name].detail == VERSIONS[name] for name in VERSIONS)
    assert not {"elsewhere", "notebook"} & set(findings)


def test_a_missing_package_is_installed_by_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = diagnose_with(monkeypatch, psycopg=None)
    assert findings["psycopg"] == Finding(
        "psycopg", False, True, "not installed", "pip install 'psycopg[binary]>=3.2'"
    )
    assert findings["polars"].ok


@pytest.mark.parametrize(("version", "ok"), [("0.1.24", False), ("0.1.25", True), ("0.2", True)])
def test_a_package_that_is_too_old_is_named_with_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, version: str, ok: bool
) -> None:
    finding = diagnose_with(monkeypatch, reasoning_gym=version)["reasoning-gym"]
    assert (finding.ok, finding.required) == (ok, True)
    assert finding.detail == (version if ok else f"{version}, not >=0.1.25")
    assert finding.mend == "pip install 'reasoning-gym>=0.1.25'"


def test_a_local_build_of_a_version_counts_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's CPU build calls itself 2.13.0+cpu."""
    monkeypatch.setattr(importlib.metadata, "requires", {"assay": ["torch==2.13.0"]}.get)
    monkeypatch.setattr(importlib.metadata, "version", {"torch": "2.13.0+cpu"}.__getitem__)
    assert {f.name: f.ok for f in diagnose()}["torch"]


def test_all_that_assay_is_made_of_is_declared() -> None:
    names = {requirement.name for requirement in list_requirements()}
    assert names >= {
        "dataframely", "duckdb-extension-postgres-scanner", "label-studio-sdk", "math-verify",
        "numba", "psycopg", "reasoning-gym",
    }  # fmt: skip
    assert all(finding.mend for finding in diagnose())
