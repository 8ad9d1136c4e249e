"""Small commands: what they refuse, and what `--json` of several steps says."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import click
import pytest

from annotators.desk import DeskUnreachable
from flows.commands.people import find_desk
from flows.commands.stages import merge_rows, run_steps
from pipelines.lake.catalogue import Lake
from pipelines.lake.places import LakeError
from pipelines.lake.run import StageSummary
from schemas.errors import AssayError
from tests.conftest import make_recipe, run_assay, run_here, write_recipe
from tests.stub_server import run_stub


def test_stopping_what_does_not_exist_is_an_error() -> None:
    done = run_assay("down", "label-studoi")
    assert done.returncode == 2
    assert "label-studoi: no such service; known: vllm, label-studio, prefect" in done.stderr
    done = run_here("down", "vllm", "--json")
    assert done.returncode == 0 and "stopped" in json.loads(done.stdout)


@pytest.mark.parametrize("command", ["status", "push", "pull"])
def test_a_mistyped_lake_is_not_made(tmp_path: Path, command: str) -> None:
    lake = tmp_path / "lkae"
    run = run_assay if command == "pull" else run_here
    done = run("review", command, "--lake", lake)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {lake}: no lake there" in done.stderr
    assert not lake.exists()


def test_the_desk_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduled pull asks for no URL: what a worker's environment names must count."""
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    with pytest.raises(DeskUnreachable, match=r"127\.0\.0\.1:9"):
        find_desk(None)


def test_the_steps_of_a_command_add_up(tmp_path: Path) -> None:
    with run_stub() as stub:
        prompts = {"arithmetic": {"count": 12}, "open": {"model": "m", "count": 5}}
        recipe = write_recipe(tmp_path / "r.yaml", make_recipe(stub.url, prompts=prompts))
        for command in ("synthesise", "dedup", "rollouts", "judge", "label"):
            done = run_here(command, recipe, "--lake", tmp_path / "lake", "--json")
            assert done.returncode == 0, done.stderr
            row = json.loads(done.stdout)
            stages = row["stages"]
            lost = sum(row["dropped"].values()) + sum(row["quarantined"].values())
            assert row["rows_in"] == row["kept"] + lost, command
            assert lost == sum(sum(s["dropped"].values()) for s in stages)
            assert row["seconds"] == pytest.approx(sum(s["seconds"] for s in stages), abs=0.01)
            assert row.get("calls", 0) == sum(s.get("calls", 0) for s in stages)
            if command == "synthesise":  # two makers, side by side
                assert row["calls"] > 0 and row["rows_in"] == sum(s["rows_in"] for s in stages)
            elif command in ("dedup", "label"):  # the same rows in both
                assert row["rows_in"] == stages[0]["rows_in"] > 0
            elif command == "rollouts":
                assert row["kept"] == stages[1]["kept"] and row["rows_in"] > stages[0]["rows_in"]


def test_rows_that_travel_count_once() -> None:
    dedup = StageSummary("dedup", 100, 80, {"exact": 15, "near": 5}, seconds=1.5)
    split = StageSummary("split", 80, 78, {"bridges_splits": 2}, seconds=0.5, scope="s")
    merged = merge_rows([dedup.to_json(), split.to_json()])
    assert (merged["rows_in"], merged["kept"], merged["seconds"]) == (100, 78, 2.0)
    assert merged["dropped"] == {"exact": 15, "near": 5, "bridges_splits": 2}
    label = StageSummary("label", 100, 100, to_review=30, extra={"decided_by": {"llm": 70}})
    queue = StageSummary("review_queue", 30, 30, to_review=20, extra={"queued": 20})
    merged = merge_rows([label.to_json(), queue.to_json()])
    assert (merged["rows_in"], merged["kept"], merged["to_review"]) == (100, 100, 30)
    assert (merged["queued"], merged["decided_by"]) == (20, {"llm": 70})


def run_main(patch: pytest.MonkeyPatch, error: Exception) -> tuple[int, str]:
    """What `main` makes of a command that ends with `error`: exit status, standard error."""
    from flows import cli

    def fail(_context: click.Context) -> None:
        raise error

    patch.setattr(cli.assay.commands["status"], "invoke", fail)
    done = run_here("status")
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/there/out.html"),
            "error: /there/out.html: the disk is full (No space left on device); what was "
            "committed is safe. Free some space and run the same command again\n",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            "error: the disk is full (Disk quota exceeded); what was committed is safe. Free some "
            "space and run the same command again\n",
        ),
    ],
)
def test_a_full_disk_is_one_message_wherever_it_shows(
    monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    assert run_main(monkeypatch, error) == (1, message)


def test_an_error_of_another_kind_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Input/output"):
        run_main(monkeypatch, OSError(errno.EIO, "Input/output error"))


def test_compaction_waits_for_success_and_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk both would fail; the first says what happened."""

    def fail_first(*_: object) -> StageSummary:
        raise AssayError("the first")

    def fail_second(_lake: Lake) -> int:
        raise LakeError("the second")

    monkeypatch.setattr(Lake, "compact", fail_second)
    lake = str(tmp_path / "lake")
    monkeypatch.setattr("pipelines.steps.run_step", lambda *_: StageSummary("dedup", 0, 0))
    with pytest.raises(LakeError, match="the second"):  # after success it is compacted
        run_steps(("dedup",), "tiny", lake, False, False)
    monkeypatch.setattr("pipelines.steps.run_step", fail_first)
    with pytest.raises(AssayError, match="the first"):
        run_steps(("dedup",), "tiny", lake, False, False)
