"""What cannot be used ends in exit status 1 and one message that names it and the mend."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.lake.catalogue import open_lake
from tests.conftest import ROOT, make_recipe, run_assay, run_here, write_recipe
from tests.stub_server import run_stub

POOL = ROOT / "data" / "pools" / "tiny.jsonl"
DOWN = "http://127.0.0.1:9/v1"  # the port of `discard`, where nothing listens
Command = list[str | Path]


def import_pool(file: Path, content: bytes | None = None) -> Command:
    if content is not None:
        file.write_bytes(content)
    return ["import", file, "--name", "pool", "--lake", file.parent / "lake"]


def synthesise(folder: Path, text: str) -> Command:
    (folder / "recipe.yaml").write_text(text)
    return ["synthesise", folder / "recipe.yaml", "--lake", folder / "lake"]


def import_into(lake: Path) -> Command:
    return ["import", POOL, "--name", "tiny", "--lake", lake]


def make_newer(folder: Path) -> Command:
    with open_lake(folder / "lake") as lake:
        lake._cursor().execute("UPDATE lake_meta SET value = '99' WHERE key = 'schema_version'")
    return ["versions", "--lake", folder / "lake"]


def ask_nobody(folder: Path) -> Command:
    models = {"m": {"model": "stub", "url": DOWN, "max_tries": 1}}
    recipe = make_recipe(models=models, prompts={"open": {"model": "m", "count": 4}})
    file = write_recipe(folder / "recipe.yaml", recipe)
    return ["synthesise", file, "--lake", folder / "lake"]


def put_file(folder: Path) -> Path:
    (folder / "file").write_text("not a folder")
    return folder / "file"


def block(folder: Path) -> Path:
    """A lake whose catalogue cannot be opened, not even by root."""
    (folder / "lake" / "catalog.sqlite").mkdir(parents=True)
    return folder / "lake"


ROWS = b"".join(
    b'{"prompt": "Why %d?", "chosen": "So.", "rejected": "No."}\n' % i for i in range(9)
)
IMPOSSIBLE = """
name: x
prompts: {arithmetic: {count: 3}}
mix: {categories: {a: 0.7, b: 0.6}}
"""

# how to make the command in an empty folder, and what its message must hold ({} is the folder)
CASES: dict[str, tuple[Callable[[Path], Command], tuple[str, ...]]] = {
    "missing pool": (
        lambda d: import_pool(d / "p.jsonl"),
        ("{}/p.jsonl: no such file", "check the path"),
    ),
    "empty pool": (
        lambda d: import_pool(d / "p.jsonl", b""),
        ("{}/p.jsonl: the file is empty", "fetch it again"),
    ),
    "pool cut in its first row": (
        lambda d: import_pool(d / "p.jsonl.gz", gzip.compress(ROWS)[:20]),
        ("{}/p.jsonl.gz: ", "truncated", "fetch it again"),
    ),
    "pool of another encoding": (
        lambda d: import_pool(d / "p.jsonl", '{"prompt": "Grün?"}\n'.encode("latin-1")),
        ("{}/p.jsonl: ", "not UTF-8", "check that it is UTF-8"),
    ),
    "pool of an unknown layout": (
        lambda d: import_pool(d / "p.jsonl", b'{"question": "a", "best": "b"}\n'),
        ("{}/p.jsonl: no known layout has the keys question, best", "rename them"),
    ),
    "unknown key": (
        lambda d: synthesise(d, "name: x\nprompts: {arithmetic: {cuont: 3}}\n"),
        ("{}/recipe.yaml: prompts.arithmetic.cuont: unknown key", "did you mean 'count'"),
    ),
    "impossible quota": (
        lambda d: synthesise(d, IMPOSSIBLE),
        ("{}/recipe.yaml: mix: impossible quota", "categories add up to 1.3", "lower them"),
    ),
    "newer lake": (
        make_newer,
        ("{}/lake: ", "schema version 99", "install a newer Assay"),
    ),
    "server down": (
        ask_nobody,
        (f"{DOWN} cannot be reached", "start the server or mend the recipe's url"),
    ),
    "file for a folder": (
        lambda d: import_into(put_file(d)),
        ("{}/file: cannot make this folder", "give another with --lake"),
    ),
    "folder in a file": (
        lambda d: import_into(put_file(d) / "lake"),
        ("{}/file/lake: cannot make this folder", "give another with --lake"),
    ),
    "lake that cannot be written": (
        lambda d: import_into(block(d)),
        ("{}/lake: this folder cannot be written", "give another with --lake"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_used_is_one_message_with_the_mend(tmp_path: Path, case: str) -> None:
    make, words = CASES[case]
    run = run_assay if case == "newer lake" else run_here  # of `versions` there is no other test
    done = run(*make(tmp_path))
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("error: ") == 1
    message = done.stderr.partition("error: ")[2]
    assert "\n" not in message.rstrip("\n")
    for word in words:
        assert word.replace("{}", str(tmp_path)) in message


def test_a_pool_cut_later_gives_what_came_before_and_counts_the_rest(tmp_path: Path) -> None:
    long = b"".join(
        b'{"prompt": "%s?", "chosen": "So.", "rejected": "No."}\n' % os.urandom(8).hex().encode()
        for _ in range(2_000)
    )
    whole = gzip.compress(long)
    done = run_assay(*import_pool(tmp_path / "p.jsonl.gz", whole[: len(whole) // 2]), "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["kept"] > 500
    assert row["quarantined"] == {"the gzip stream is truncated or damaged here": 1}
    with open_lake(tmp_path / "lake") as lake:
        [lost] = lake.query("SELECT reason, row FROM quarantine").rows()
    assert "truncated" in lost[0]


def test_two_runs_at_once_share_one_lake_and_pay_once(tmp_path: Path) -> None:
    with run_stub(delay_ms=100) as stub:
        file = write_recipe(tmp_path / "recipe.yaml", make_recipe(stub.url))
        command = [sys.executable, "-m", "flows.cli", "run", str(file), "--json"]
        runs = [
            subprocess.Popen(
                [*command, "--lake", str(tmp_path / "lake"), "--out", str(tmp_path / name)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for name in ("one", "two")
        ]
        ended = [run.communicate(timeout=280) for run in runs]
        stats = stub.stats()
    assert [run.returncode for run in runs] == [0, 0], ended
    first, second = (json.loads(out) for out, _ in ended)
    assert first["version"] == second["version"] == "small@1"
    assert first["fingerprint"] == second["fingerprint"]
    assert sorted((first["new"], second["new"])) == [False, True]
    assert stats["repeated"] == 0
    assert first["model_calls"] + second["model_calls"] == stats["requests"] > 0
    for name in ("one", "two"):
        assert (tmp_path / name / "export" / "small@1" / "assay.json").is_file()


FULL = """
mount -t tmpfs -o size=256k none "$1" || exit 99
"$2" -m flows.cli import "$3" --name tiny --lake "$1/lake"
echo "status $?"
mount -o remount,size=8m "$1"
"$2" -m flows.cli import "$3" --name tiny --lake "$1/lake"
echo "status $?"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_full_disk_is_one_message_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """On a real small disk, which only the shell below and its children see."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, "sh", str(folder),
         sys.executable, str(POOL)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"no small disk here: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("status")] == ["status 1", "status 0"]
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert f"error: {folder}/lake: the disk is full; what was committed is safe" in done.stderr
    assert "run the same command again" in done.stderr
    assert any("12 in     12 kept" in line for line in lines)
