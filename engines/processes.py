"""Processes by number and start, since numbers come round again."""

from __future__ import annotations

from pathlib import Path


def read_start(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None where there is no such process.

    Unlike the time of day that can be made of it, it stays the same while the clock is being set.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(after_name.split()[19])


def name_process(pid: int) -> str:
    """The number and start of a process, for `is_running`."""
    return f"{pid}-{read_start(pid)}"


def is_running(name: str) -> bool:
    """Whether the process of that name (`name_process`) is there still."""
    pid, _, start = name.partition("-")
    return str(read_start(int(pid))) == start != "None"
