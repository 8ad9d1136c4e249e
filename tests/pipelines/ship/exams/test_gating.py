"""The gate's rule: better somewhere, worse nowhere, beyond doubt."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.ship.exams.gating import decide


def make_row(low: float, high: float, gates: bool = True) -> dict[str, Any]:
    return {"n": 10, "score": (low + high) / 2, "ci": [low, high], "gates": gates}


@pytest.mark.parametrize(
    ("rows", "passed", "words"),
    [
        ({"a": make_row(0.01, 0.1)}, True, "better than x@1 on a (a: +5.5 points"),
        ({"a": make_row(0.01, 0.1), "b": make_row(-0.1, 0.1)}, True, "better than x@1 on a"),
        ({"a": make_row(-0.1, 0.1)}, False, "not better than x@1 beyond doubt"),
        ({"a": make_row(0.0, 0.0)}, False, "not better than x@1 beyond doubt"),
        ({"a": make_row(0.01, 0.1), "b": make_row(-0.2, -0.1)}, False, "worse than x@1 on b"),
        ({"a": make_row(0.1, 0.2, gates=False)}, False, "nothing here may gate"),
        ({"a": make_row(-0.2, -0.1, gates=False), "b": make_row(0.1, 0.2)}, True, "on b"),
        ({}, False, "nothing here may gate"),
    ],
)
def test_what_passes(rows: dict[str, Any], passed: bool, words: str) -> None:
    found, reason = decide(rows, "x@1")
    assert found is passed
    assert words in reason
