"""`assay clean`: its words, its numbers, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli import assay
from pipelines.lake.catalogue import open_lake
from tests.pipelines.clean.bulk.pools import make_rows, read_decisions, write_pool


def write_files(folder: Path, rows: int, files: int) -> Path:
    made = make_rows(rows)
    return write_pool(folder, [made[i::files] for i in range(files)])


def start(*words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "clean", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def test_what_it_says_and_what_it_counts(tmp_path: Path) -> None:
    pool = write_files(tmp_path / "pool", 200, 2)
    words = ["clean", str(pool), "--out", str(tmp_path / "out"), "--near", "0.7"]
    shown = CliRunner().invoke(assay, [*words, "--kept"])
    assert shown.exit_code == 0, shown.output
    assert "240 rows" in shown.output and "near_duplicate" in shown.output
    assert "2 of 2 parts read" in shown.output
    again = CliRunner().invoke(assay, [*words, "--json"])
    row = json.loads(again.stdout)
    assert {"rows_in", "kept", "dropped", "flipped", "to_review", "quarantined", "seconds"} <= set(
        row
    )
    assert row["rows_in"] == 240 and row["sketched"] == 0
    assert len(read_decisions(tmp_path / "out")) == 240 - row["kept"]


def test_decisions_go_to_the_lake_that_is_named_where_that_is_asked_for(tmp_path: Path) -> None:
    pool, lake = write_files(tmp_path / "pool", 60, 1), tmp_path / "lake"
    words = ["clean", str(pool), "--out", str(tmp_path / "out"), "--lake", str(lake)]
    refused = CliRunner().invoke(assay, words)
    assert refused.exit_code == 2 and "add --register" in refused.output
    assert not lake.exists()
    shown = CliRunner().invoke(assay, [*words, "--register"])
    assert shown.exit_code == 0, shown.output
    assert "rows are new in the lake, under the scope" in shown.output
    again = json.loads(CliRunner().invoke(assay, [*words, "--register", "--json"]).stdout)
    assert again["registered"] == {"decisions": 0, "quarantine": 0}
    with open_lake(lake) as opened:
        scope = opened.query("SELECT DISTINCT scope FROM decisions")["scope"].to_list()
    assert scope == [again["scope"]]


def test_a_pool_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.parquet"
    ended = start(str(missing), "--out", str(tmp_path / "out"))
    _, said = ended.communicate(timeout=60)
    assert ended.returncode == 1
    assert f"{missing}: no such file; check the path" in said


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.soak)])
def test_killed_at_random_moments_it_ends_the_same(tmp_path: Path, kills: int) -> None:
    pool = write_files(tmp_path / "pool", 4_000, 10)
    out, words = tmp_path / "killed", ("--near", "0.7", "--kept", "--json")
    whole = start(str(pool), "--out", str(tmp_path / "whole"), *words)
    summary = json.loads(whole.communicate(timeout=300)[0])
    written = count_files(tmp_path / "whole")
    rng = random.Random(kills)
    stopped = ended = 0
    while stopped < kills or not ended:
        # Counted in files written, not in seconds: a machine's first run compiles the kernels.
        target = count_files(out) + rng.randint(1, written // 2) if stopped < kills else 2 * written
        process = start(str(pool), "--out", str(out), *words)
        while process.poll() is None and count_files(out) < target:
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            stopped += 1
            process.communicate()
            continue
        ended += 1
        again = json.loads(process.communicate()[0])
        assert read_decisions(out) == read_decisions(tmp_path / "whole")
        for key in ("rows_in", "kept", "dropped", "quarantined"):
            assert again[key] == summary[key]
        left = [path for path in out.rglob(".*-*") if path.is_dir()]
        assert len(left) <= stopped  # drafts of a killed process, never taken for a sketch
        shutil.rmtree(out)
    assert stopped == kills


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_workers_of_a_ray_cluster_come_to_the_same(tmp_path: Path) -> None:
    pytest.importorskip("prefect_ray")
    pool = write_files(tmp_path / "pool", 600, 6)
    words = (str(pool), "--near", "0.7", "--json")
    alone = start(*words, "--out", str(tmp_path / "alone"))
    expected = json.loads(alone.communicate(timeout=120)[0])
    work = start(*words, "--out", str(tmp_path / "ray"), "--ray", "local")
    out, said = work.communicate(timeout=200)
    assert work.returncode == 0, said
    assert "Ray instance" in said
    found = json.loads(out)
    assert found["sketched"] == 6
    for key in ("rows_in", "kept", "dropped", "quarantined"):
        assert found[key] == expected[key]
    assert read_decisions(tmp_path / "ray") == read_decisions(tmp_path / "alone")
