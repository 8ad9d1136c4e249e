"""Processes by number and start."""

from __future__ import annotations

import os
import subprocess
import sys

from engines.processes import is_running, name_process, read_start


def test_a_name_is_good_for_as_long_as_its_process_lives() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = name_process(process.pid)
    assert is_running(name)
    assert read_start(process.pid) >= read_start(os.getpid())
    process.communicate()
    assert not is_running(name)
    assert read_start(process.pid) is None
    assert not is_running(name_process(process.pid))


def test_a_number_that_came_round_again_is_another_process() -> None:
    mine = name_process(os.getpid())
    assert is_running(mine)
    assert not is_running(f"{os.getpid()}-{read_start(os.getpid()) - 1}")
