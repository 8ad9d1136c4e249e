"""Leases against a second run: waiting, saying who, dying with their process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.lake.catalogue import open_lake
from pipelines.lake.locks import LeaseHeld, Locks
from pipelines.lake.run import Run, new_run

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from pipelines.lake.locks import Locks
with Locks(Path(sys.argv[1]), None).lease("judge", tell=print, wait_seconds=0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_waits_and_says_who_holds_the_stage(tmp_path: Path) -> None:
    told: list[str] = []
    with open_lake(tmp_path) as lake:
        with (
            lake.lease("judge", new_run()),
            pytest.raises(LeaseHeld, match=r"stage judge is held by process \d+ on"),
            lake.lease("judge", Run("second", tell=told.append), wait_seconds=0.3),
        ):
            pass
        assert told and told[0].startswith("waiting: stage judge is held by process")
        with lake.lease("judge", new_run(), wait_seconds=0):
            pass


def test_other_stages_are_free(tmp_path: Path) -> None:
    locks = Locks(tmp_path, None)
    with (
        locks.lease("judge", tell=print, wait_seconds=0),
        locks.lease("rollouts", tell=print, wait_seconds=0),
    ):
        pass


def test_a_killed_holder_leaves_its_lease_at_once(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    locks = Locks(tmp_path, None)
    with (
        pytest.raises(LeaseHeld, match=str(holder.pid)),
        locks.lease("judge", tell=print, wait_seconds=0),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    started = time.monotonic()
    with locks.lease("judge", tell=print, wait_seconds=5):
        assert time.monotonic() - started < 2


def test_a_lease_of_another_machine_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", -1.0)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    monkeypatch.setattr(Locks, "_renew", lambda *_: None)
    locks = Locks(tmp_path, None)
    with locks.lease("judge", tell=print, wait_seconds=0):
        monkeypatch.setattr("socket.gethostname", lambda: "here")
        with locks.lease("judge", tell=print, wait_seconds=0):
            pass


def test_a_living_holder_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", 0.8)
    locks = Locks(tmp_path, None)
    with locks.lease("judge", tell=print, wait_seconds=0):
        time.sleep(1.5)
        with (
            pytest.raises(LeaseHeld),
            locks.lease("judge", tell=print, wait_seconds=0),
        ):
            pass
