"""The house: a floor imports only from the floors below it, and what is heavy waits."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FLOORS = ["schemas", "engines", "annotators", "pipelines", "flows"]

# a wing of `pipelines/`, or a module beside the wings, and what of `pipelines/` it may import
WINGS = {
    "lake": set(),
    "make": {"lake"},
    "clean": {"lake"},
    "label": {"lake", "view"},
    "ship": {"lake", "make", "clean", "label", "view"},
    "view": {"lake", "make", "clean", "label"},
    "recipes": {"lake"},
    "steps": {"lake", "make", "clean", "label", "ship", "view", "recipes"},
}
BANNED = {
    "schemas": {"prefect", "duckdb"},
    "engines": {"prefect", "duckdb"},
    "annotators": {"prefect", "duckdb"},
    "pipelines": {"prefect"},
}


def list_files(folder: str) -> list[Path]:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, folder
    return files


def imported_modules(file: Path) -> list[str]:
    """What a file imports, at its top or inside a function; `from a import b` may mean `a.b`."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.relative_to(ROOT)}: write imports in full"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def find_wing(module: str) -> str:
    """The wing of `pipelines.WING.module`, or the module of `pipelines.module`."""
    return module.split(".")[1]


@pytest.mark.parametrize("height", range(len(FLOORS)))
def test_imports_point_one_way_down(height: int) -> None:
    for file in list_files(FLOORS[height]):
        for name in imported_modules(file):
            top = name.split(".")[0]
            if top in FLOORS:
                where = file.relative_to(ROOT)
                assert FLOORS.index(top) <= height, f"{where} reaches up to {name}"


@pytest.mark.parametrize("floor", BANNED)
def test_prefect_stays_in_flows_and_the_lake_in_pipelines(floor: str) -> None:
    for file in list_files(floor):
        found = BANNED[floor] & {name.split(".")[0] for name in imported_modules(file)}
        assert not found, f"{file.relative_to(ROOT)} imports {found}"


def test_every_wing_has_its_place() -> None:
    """A new wing, or a new module beside them, says here what it stands on."""
    parts = {file.relative_to(ROOT / "pipelines").parts[0] for file in list_files("pipelines")}
    assert {part.removesuffix(".py") for part in parts} - {"__init__"} == set(WINGS)


@pytest.mark.parametrize("wing", WINGS)
def test_wings_stand_on_what_they_may_and_need_all_of_it(wing: str) -> None:
    folder = ROOT / "pipelines" / wing
    files = list_files(f"pipelines/{wing}") if folder.is_dir() else [folder.with_suffix(".py")]
    used = {
        find_wing(name): file.relative_to(ROOT)
        for file in files
        for name in imported_modules(file)
        if name.startswith("pipelines.") and find_wing(name) != wing
    }
    for other, where in used.items():
        assert other in WINGS[wing], f"{where} imports from pipelines/{other}"
    assert set(used) == WINGS[wing], "an entry of the table that nothing needs"


def test_only_label_and_view_know_one_another() -> None:
    """`view` applies the label policy, and the review queue of `label` reads a view; all else
    points one way."""
    order = ["lake", "make", "clean", "label", "view", "ship", "recipes", "steps"]
    for wing, others in WINGS.items():
        for other in others - ({"view"} if wing == "label" else set()):
            assert order.index(other) < order.index(wing), f"{wing} and {other}"


def test_every_import_is_of_a_declared_dependency() -> None:
    """What comes along with something else today may stay away tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    named = [*project["dependencies"], *(text for extra in extras for text in extra)]
    declared = {canonicalize_name(Requirement(text).name) for text in named}
    providers = importlib.metadata.packages_distributions()
    for file in (file for floor in FLOORS for file in list_files(floor)):
        for top in {name.split(".")[0] for name in imported_modules(file)}:
            if top in FLOORS or top in sys.stdlib_module_names:
                continue
            found = {canonicalize_name(name) for name in providers.get(top, [top])}
            where = file.relative_to(ROOT)
            assert found & declared, f"{where} imports {top}; pyproject.toml lacks {found}"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, flows.cli; "
        "heavy = {'torch', 'datasets', 'prefect', 'trl', 'matplotlib', 'sentence_transformers', "
        "'transformers', 'label_studio_sdk', 'numba', 'reasoning_gym'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
