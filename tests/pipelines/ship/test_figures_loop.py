"""The figure of a loop's iterations."""

from __future__ import annotations

import re

from pipelines.ship.figures_loop import plot_iterations


def test_iterations_and_minutes_have_axes_of_their_own_and_no_interval_is_cut() -> None:
    rows = [
        {"number": place, "accuracy": 0.5, "accuracy_low": 0.21, "accuracy_high": 0.7,
         "accuracy_read": 0.8, "minutes": minutes}
        for place, minutes in enumerate((75.0, 125.0, 0.0))
    ]  # fmt: skip
    words = re.findall(r">([^<>]+)</text>", plot_iterations(rows))
    assert {"0", "1", "2", "200", "0.2", "iteration"} <= set(words)
