"""Leases against a second run: waiting, saying who, dying with their process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipelines.lake.catalogue import open_lake
from pipelines.lake.locks import LeaseHeld, Locks
from pipelines.lake.places import LakeError, Place, parse_place
from pipelines.lake.run import Run, new_run

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pipelines.lake.locks import Locks
from pipelines.lake.places import parse_place
with Locks(parse_place(sys.argv[1])).lease("judge", tell=print, wait_seconds=0):
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
    locks = Locks(parse_place(str(tmp_path)))
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
    locks = Locks(parse_place(str(tmp_path)))
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
    monkeypatch.setattr(Locks, "_keep", lambda *_: None)
    theirs, ours = (Locks(parse_place(str(tmp_path))) for _ in range(2))
    with (  # noqa: PT012
        pytest.raises(LakeError, match="another run took over the stage judge"),
        theirs.lease("judge", tell=print, wait_seconds=0),
    ):
        monkeypatch.setattr("socket.gethostname", lambda: "here")
        with ours.lease("judge", tell=print, wait_seconds=0):
            pass


def test_a_living_holder_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", 0.8)
    locks = Locks(parse_place(str(tmp_path)))
    with locks.lease("judge", tell=print, wait_seconds=0):
        time.sleep(1.5)
        with (
            pytest.raises(LeaseHeld),
            locks.lease("judge", tell=print, wait_seconds=0),
        ):
            pass


def test_a_renewal_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", 0.8)
    renew, tries = Locks._renew, []

    def fail_once(*arguments: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise LakeError("the database is away")
        renew(*arguments)

    monkeypatch.setattr(Locks, "_renew", fail_once)
    locks = Locks(parse_place(str(tmp_path)))
    with locks.lease("judge", tell=print, wait_seconds=0):
        time.sleep(1.5)
        with pytest.raises(LeaseHeld), locks.lease("judge", tell=print, wait_seconds=0):
            pass


def test_a_lost_lease_fails_the_next_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a laptop slept: nothing was renewed, and another run has taken the stage."""
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", 0.1)
    monkeypatch.setattr(Locks, "_keep", lambda *_: None)
    with open_lake(tmp_path) as lake:
        row = {"response_id": "a", "prompt_id": "p", "content": "text"}
        with (  # noqa: PT012
            pytest.raises(LakeError, match="another run took over the stage judge"),
            lake.lease("judge", new_run()),
        ):
            time.sleep(0.2)
            lake.append({"responses": [row]}, run=new_run(), stage="judge")  # nobody took it yet
            time.sleep(0.2)
            thief = Locks(lake.place)
            with thief.lease("judge", tell=print, wait_seconds=0):
                lake.append({"responses": [{**row, "response_id": "b"}]}, run=new_run(), stage="j")
        assert lake.query("FROM responses")["response_id"].to_list() == ["a"]


def test_a_fault_inside_the_block_is_not_hidden_by_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", -1.0)
    monkeypatch.setattr(Locks, "_keep", lambda *_: None)
    locks = Locks(parse_place(str(tmp_path)))
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="what went wrong"),
        locks.lease("judge", tell=print, wait_seconds=0),
    ):
        with locks.lease("judge", tell=print, wait_seconds=0):
            pass
        raise RuntimeError("what went wrong")


@pytest.fixture
def postgres_place(postgres_url: str, tmp_path: Path) -> Place:
    return parse_place(f"{postgres_url}&data_path={tmp_path / 'data'}")


def test_a_long_commit_on_postgresql_does_not_cost_the_lease(
    postgres_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", 0.8)
    ours, theirs = Locks(postgres_place), Locks(postgres_place)
    with ours.lease("long", tell=print, wait_seconds=0), ours.commit():
        time.sleep(1.5)
        with pytest.raises(LeaseHeld), theirs.lease("long", tell=print, wait_seconds=0):
            pass
    ours.close()
    theirs.close()


def test_a_connection_that_drops_is_opened_again(
    postgres_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.lake.locks.LEASE_SECONDS", 0.8)
    ours, theirs = Locks(postgres_place), Locks(postgres_place)
    with ours.commit():
        pass
    with ours.lease("dropped", tell=print, wait_seconds=0):
        with psycopg.connect(postgres_place.postgres_url or "") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        time.sleep(1.5)
        with pytest.raises(LeaseHeld), theirs.lease("dropped", tell=print, wait_seconds=0):
            pass
        with ours.commit():
            pass
    ours.close()
    theirs.close()
