"""The benchmark of the loop's scale on a few hundred pairs: it runs, and the probe learns."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.loop_scale import JURY, STEPS, iterate, tell
from benchmarks.loop_scale_pool import make_pool


def test_an_iteration_over_a_small_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_pool(tmp_path, 600)
    found = iterate(tmp_path)
    assert found["pairs"] == 600 and found["answered"] > 0
    assert [row["kind"] for row in found["iterations"]] == ["gold", "retrieval", "rejudging"]
    assert found["iterations"][1]["pairs"] > 0 and found["iterations"][1]["gold"] > 80
    assert found["readers"]["together"]["accuracy"] > 0.7
    assert {*STEPS, JURY} <= found["steps"].keys()
    tell({**found, "disk": 0.0, "made": 0.0})
    assert "all but the jury" in capsys.readouterr().out
