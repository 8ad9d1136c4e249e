"""The figure of a report that says what the iterations of a gold loop bought, as inline SVG (see
`pipelines.ship.figures`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from pipelines.ship.figures import BLUE, LINE, ORANGE, draw_figure, put_legend, say_no_data


def plot_iterations(rows: Sequence[Mapping[str, Any]]) -> str:
    """How right the best probe and all voices together were on gold after each iteration, and under
    it by people's minutes where they spent any.

    Args:
        rows: number, accuracy, accuracy_low, accuracy_high, accuracy_read, minutes, in order; those
            without an accuracy are left out.
    """
    minutes = list(accumulate(row["minutes"] for row in rows))
    known = [(row, at) for row, at in zip(rows, minutes, strict=True) if row["accuracy"]]
    if not known:
        return say_no_data("no iteration is done")
    shown = [row for row, _ in known]
    axes_of = [("iteration", [row["number"] for row in shown])]
    if minutes[-1] > 0:
        axes_of.append(("people’s minutes, all together", [at for _, at in known]))

    def paint(*panels: Any) -> None:
        for axes, (words, at) in zip(panels, axes_of, strict=True):
            axes.axhline(0.5, color=LINE, linewidth=1, linestyle="--")
            for row, place in zip(shown, at, strict=True):
                axes.plot([place] * 2, [row["accuracy_low"], row["accuracy_high"]], color=BLUE)
            axes.plot(at, [row["accuracy"] for row in shown], color=BLUE, linewidth=1.8,
                      marker="o", markersize=5, label="the best probe")  # fmt: skip
            axes.plot(at, [row["accuracy_read"] for row in shown], color=ORANGE, linewidth=1.8,
                      marker="D", markersize=5, label="all voices together")  # fmt: skip
            axes.grid(axis="y")
            axes.set_ylim(min(0.4, *(row["accuracy_low"] - 0.02 for row in shown)), 1.02)
            axes.set_ylabel("right on gold")
            axes.set_xlabel(words)
        panels[0].xaxis.get_major_locator().set_params(integer=True)
        put_legend(panels[0], columns=2)

    label = "Accuracy on gold by iteration of the loop"
    panels = len(axes_of)
    return draw_figure("loop", label, paint, height=2.4 * panels, panels=panels, share=False)
