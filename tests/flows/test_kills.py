"""A run that is killed at a random moment and started again ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from engines.services import list_services
from pipelines.lake.calls import UNCOMMITTED
from pipelines.lake.catalogue import open_lake
from schemas.tables import TABLES, key_columns
from tests.conftest import ROOT, make_recipe, run_assay, write_recipe
from tests.stub_server import run_stub

IN_FLIGHT = 16
PROMPTS = {
    "verifiable": {"per_cell": 6, "families": ["letter_counting", "spell_backward", "gcd"]},
    "open": {"model": "m", "count": 60, "max_tokens": 32},
}


def make_kill_recipe(folder: Path, url: str) -> Path:
    models = {"m": {"model": "stub", "url": url, "concurrency": IN_FLIGHT}}
    rollouts = [{"model": "m", "n": 3}]
    recipe = make_recipe(models=models, prompts=PROMPTS, rollouts=rollouts)
    return write_recipe(folder / "recipe.yaml", recipe)


def run_to_the_end(folder: Path, url: str) -> dict[str, object]:
    file = make_kill_recipe(folder, url)
    done = run_assay("run", file, "--lake", folder / "lake", "--out", folder / "out", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_and_kill(folder: Path, url: str, rng: random.Random) -> str:
    """Start a run and kill it: at a time after its start, or after a number of lines it wrote."""
    file = make_kill_recipe(folder, url)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(file), "--lake", str(folder / "lake"),
         "--out", str(folder / "out")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stderr is not None
    lines = rng.randint(0, 16)
    seen: list[str] = []
    for line in process.stderr:
        seen.append(line)
        if len(seen) >= lines:
            break
    time.sleep(rng.uniform(0, 0.8))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    return seen[-1].strip() if seen else "start"


def check_kills(folder: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    with run_stub(delay_ms=30) as stub:
        (folder / "calm").mkdir()
        expected = run_to_the_end(folder / "calm", stub.url)
    assert expected["rows"] > 30
    for number in range(kills):
        place = folder / f"kill-{number}"
        place.mkdir()
        log = place / "requests.log"
        with run_stub(delay_ms=30, log=str(log)) as stub:
            where = run_and_kill(place, stub.url, rng)
            result = run_to_the_end(place, stub.url)
        assert result["fingerprint"] == expected["fingerprint"], f"killed after {where!r}"
        asked = Counter(log.read_text().split())
        assert len(asked) == expected["model_calls"]
        assert sum(asked.values()) - len(asked) <= UNCOMMITTED + IN_FLIGHT
        check_keys(place)
    assert [s for s in list_services() if s.owner == "run"] == []


def check_keys(folder: Path) -> None:
    with open_lake(folder / "lake") as lake:
        for table in TABLES:
            keys = ", ".join(key_columns(table))
            twice = lake.query(f"SELECT {keys} FROM {table} GROUP BY ALL HAVING count(*) > 1")
            assert len(twice) == 0, (table, twice)


@pytest.mark.timeout(900)
def test_a_kill_changes_nothing_of_a_run(tmp_path: Path) -> None:
    check_kills(tmp_path, 1, seed=random.randrange(2**31))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, 20, seed=random.randrange(2**31))
