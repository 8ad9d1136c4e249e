"""What `make test` takes for granted of the tools that spread its tests over two processes."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="the tests run in one process")
@pytest.mark.xdist_group("grouping")
def test_groups_reach_the_scheduler(request: pytest.FixtureRequest) -> None:
    """Tests of a group share a process, and with it one vLLM. pytest-xdist 3.8 tells the scheduler
    by the end of the test's id, which pytest 9.2 keeps it from changing: no error, but a server
    for each process."""
    assert request.node.nodeid.endswith("@grouping")
