"""The house: a floor imports only from the floors below it, and what is heavy waits."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = ["schemas", "engines", "annotators", "pipelines", "flows"]
WINGS = ["lake", "make", "label", "clean", "ship"]


def imported_modules(file: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def test_imports_point_one_way_down() -> None:
    for height, floor in enumerate(FLOORS):
        files = list((ROOT / floor).rglob("*.py"))
        assert files, floor
        for file in files:
            for name in imported_modules(file):
                top = name.split(".")[0]
                if top in FLOORS:
                    where = file.relative_to(ROOT)
                    assert FLOORS.index(top) <= height, f"{where} reaches up to {name}"


def test_pipelines_know_no_prefect_and_annotators_no_lake() -> None:
    for floor, banned in {"pipelines": "prefect", "annotators": "duckdb"}.items():
        for file in (ROOT / floor).rglob("*.py"):
            assert banned not in {name.split(".")[0] for name in imported_modules(file)}, file


def test_the_lake_wing_stands_on_nothing_but_itself() -> None:
    for file in (ROOT / "pipelines" / "lake").rglob("*.py"):
        for name in imported_modules(file):
            assert not name.startswith(tuple(f"pipelines.{wing}" for wing in WINGS[1:])), file


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, flows.cli; "
        "heavy = {'torch', 'datasets', 'prefect', 'trl', 'matplotlib', 'sentence_transformers', "
        "'transformers', 'label_studio_sdk', 'reasoning_gym'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
