"""The figure of a report that says what sources and voices are worth, as inline SVG (see
`pipelines.ship.figures`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.ship.figures import (
    BARS_AT_MOST,
    BLUE,
    DARK,
    LABEL_CHARS,
    LINE,
    ORANGE,
    draw_figure,
    put_legend,
    say_no_data,
    shorten,
)


def plot_gains(
    name: str,
    label: str,
    rows: Sequence[Mapping[str, Any]],
    measures: Mapping[str, str],
) -> str:
    """Differences in points with their 95 % intervals, a bar each, around a line at nought.

    Args:
        label: what a reader who cannot see the figure is told.
        rows: `label`, and each measure with its `_low` and `_high`, in shares; those without the
            first measure are left out, and all but the first `BARS_AT_MOST`.
        measures: which to draw, and what to call them; three at most.
    """
    known = [row for row in rows if row.get(next(iter(measures))) is not None][:BARS_AT_MOST]
    if not known:
        return say_no_data("nothing could be left out")
    step = 0.62 / max(len(measures), 2)

    def paint(axes: Any) -> None:
        axes.axvline(0, color=LINE, linewidth=1, linestyle="--")
        signs = zip(measures.items(), ((BLUE, "o"), (DARK, "D"), (ORANGE, "s")), strict=False)
        for at, ((measure, told), (colour, marker)) in enumerate(signs):
            for place, row in enumerate(known):
                if row.get(measure) is None:
                    continue
                height = place + step * (at - (len(measures) - 1) / 2)
                ends = [100 * row[f"{measure}_{end}"] for end in ("low", "high")]
                axes.plot(ends, [height] * 2, color=colour, linewidth=2)
                axes.plot(100 * row[measure], height, color=colour, marker=marker, markersize=5,
                          linestyle="none", label=told if place == 0 else None)  # fmt: skip
        axes.set_yticks(range(len(known)), [shorten(row["label"], LABEL_CHARS) for row in known])
        axes.set_ylim(len(known) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("points (bar: 95 % interval)")
        put_legend(axes, columns=2)

    return draw_figure(name, label, paint, len(known))
