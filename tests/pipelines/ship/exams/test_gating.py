"""The gate's rule: better somewhere, worse nowhere, beyond doubt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.ship.exams.gating import LEVEL, decide, hold_jointly
from pipelines.ship.exams.intervals import doubt_difference, estimate_difference, tally


def make_row(
    low: float, high: float, gates: bool = True, doubt: float | None = None
) -> dict[str, Any]:
    given = (0.02 if low > 0 else 0.5) if doubt is None else doubt
    return {"n": 10, "score": (low + high) / 2, "ci": [low, high], "gates": gates, "doubt": given}


@pytest.mark.parametrize(
    ("rows", "passed", "words"),
    [
        ({"a": make_row(0.01, 0.1)}, True, "better than x@1 on a (a: +5.5 points"),
        ({"a": make_row(0.01, 0.1), "b": make_row(-0.1, 0.1)}, False, "of 2 sets a may be so by"),
        ({"a": make_row(0.01, 0.1, doubt=0.01), "b": make_row(-0.1, 0.1)}, True, "x@1 on a ("),
        ({"a": make_row(0.01, 0.1, doubt=0.01), "b": make_row(0.01, 0.1)}, True, "x@1 on a, b ("),
        ({"a": make_row(0.01, 0.1), "b": make_row(0.01, 0.1, gates=False)}, True, "x@1 on a ("),
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


def test_holm_lets_luck_through_as_seldom_with_ten_sets_as_with_one() -> None:
    rng = np.random.default_rng(0)
    passed = sum(
        bool(hold_jointly({str(at): float(p) for at, p in enumerate(rng.random(10))}))
        for _ in range(4000)
    )
    assert passed / 4000 < LEVEL + 3 * (LEVEL / 4000) ** 0.5
    assert hold_jointly({"a": 0.024}) == ["a"] and hold_jointly({"a": 0.026}) == []
    assert hold_jointly({"a": 0.02, "b": 0.011}) == ["a", "b"]  # the second needs no half level
    assert hold_jointly({"a": 0.013, "b": 0.02}) == [] and hold_jointly({}) == []


def test_doubt_says_what_the_interval_of_one_set_says() -> None:
    rng = np.random.default_rng(1)
    sides = []
    for gain in np.linspace(0, 0.25, 26):
        prompts = [str(at) for at in range(100)]
        first, second = (rng.random(100) < share for share in (0.6 + gain, 0.6))
        tables = [tally(prompts, ["all"] * 100, row.astype(float), {"all": 1.0})
                  for row in (first, second)]  # fmt: skip
        doubt = doubt_difference(*tables, seed=3)
        sides.append((doubt <= LEVEL, estimate_difference(*tables, seed=3).low > 0))
    agree = sum(one == other for one, other in sides)
    assert agree >= 25 and 3 < sum(one for one, _ in sides) < 24
    same = tally(["a", "b"], ["all"] * 2, [1.0, 0.0], {"all": 1.0})
    assert doubt_difference(same, same, seed=0) == 1.0
