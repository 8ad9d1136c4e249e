"""The figures of a report that say how far to trust an annotator: the reliability plot as inline
SVG (see `pipelines.ship.figures`), and the colours of tables that are read like a map.

Matrices are tables and no drawings, so that their numbers can be read aloud, copied and scrolled.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.ship.figures import (
    BLUE,
    DARK,
    LINE,
    ORANGE,
    draw_figure,
    put_legend,
    say_no_data,
    shorten,
)

LINES_AT_MOST = 6
NAME_CHARS = 44
SIGNS = (
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    ("#009E73", "^", "-."),
    (DARK, "D", ":"),
    ("#CC79A7", "v", "-"),
    ("#D55E00", "P", "--"),
)
STRONGEST = 0.5  # of the full colour: black text stays easy to read on it


def plot_calibration(curves: pl.DataFrame, name: str = "calibration") -> str:
    """How often each annotator is right against how often it says it is; the diagonal is perfect.

    The area of a mark grows with the verdicts in it. At most `LINES_AT_MOST` annotators are drawn,
    those with the most verdicts.

    Args:
        curves: `annotator`, `n`, `p` (mean predicted), `truth` (mean true, both in [0, 1]), a row
            a bin (see `annotators.reliability.tabulate_calibration`).
        name: of the figure, no other of the page having it.
    """
    spoken = (
        curves.group_by("annotator")
        .agg(pl.col("n").sum())
        .sort(["n", "annotator"], descending=[True, False])
    )
    if not len(spoken):
        return say_no_data("no verdict of a judge can be held against gold")
    shown = spoken.head(LINES_AT_MOST).sort("annotator")

    def paint(axes: Any) -> None:
        axes.plot([0.5, 1], [0.5, 1], color=LINE, linewidth=1.2, zorder=1, label="_perfect")
        for (who, n), (colour, marker, style) in zip(shown.iter_rows(), SIGNS, strict=False):
            bins = curves.filter(pl.col("annotator") == who).sort("p")
            p, truth = bins["p"].round(6).to_list(), bins["truth"].round(6).to_list()
            sizes = [12 + 90 * count / n for count in bins["n"]]
            told = f"{shorten(who, NAME_CHARS)} (n = {n:,})"
            axes.plot(p, truth, color=colour, linewidth=1.5, linestyle=style, marker=marker,
                      markersize=4, zorder=2, label=told)  # fmt: skip
            axes.scatter(p, truth, sizes, color=colour, marker=marker, edgecolor="white",
                         linewidth=0.6, zorder=3)  # fmt: skip
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(-0.03, 1.03)
        axes.grid()
        axes.set_xlabel("probability given to the favoured response")
        more = f" ({len(shown)} of {len(spoken)} annotators)" if len(spoken) > len(shown) else ""
        axes.set_ylabel(f"gold agrees{more}")
        put_legend(axes, columns=1)

    label = "Reliability plot: how often gold agrees, by the probability that an annotator gave"
    return draw_figure(name, label, paint, height=2.9 + 0.17 * len(shown))


def tint(value: float) -> str:
    """The background of a cell: white at 0, blue towards 1, orange towards -1."""
    share = STRONGEST * min(abs(value), 1.0)
    colour = BLUE if value >= 0 else ORANGE
    mixed = (round(255 + share * (int(colour[place : place + 2], 16) - 255)) for place in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in mixed)
