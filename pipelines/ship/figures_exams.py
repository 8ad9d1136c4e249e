"""The figures of exams as inline SVG (see `pipelines.ship.figures`): best of n, and what more
labels would give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.ship.figures import BLUE, DARK, LINE, ORANGE, draw_figure, put_legend, say_no_data
from pipelines.ship.figures_reliability import LINES_AT_MOST, SIGNS


def plot_best_of(curves: Mapping[str, Mapping[str, Any] | None]) -> str:
    """How often the best of n by reward is right, by n; the band is the 95 % interval, the open
    mark the peak.

    Args:
        curves: set -> what `pipelines.ship.exams.best_of.trace_best_of` says.
    """
    known = {name: curve for name, curve in curves.items() if curve}
    if not known:
        return say_no_data("no set has enough prompts with four responses or more")
    shown = dict(list(known.items())[:LINES_AT_MOST])

    def paint(axes: Any) -> None:
        for (name, curve), (colour, marker, style) in zip(shown.items(), SIGNS, strict=False):
            points = curve["points"]
            sizes, gold = [p["n"] for p in points], [p["gold"] for p in points]
            axes.fill_between(sizes, [p["ci"][0] for p in points], [p["ci"][1] for p in points],
                              color=colour, alpha=0.15, linewidth=0)  # fmt: skip
            axes.plot(sizes, gold, color=colour, linewidth=1.6, linestyle=style, marker=marker,
                      markersize=3.5, label=f"{name} ({curve['prompts']:,} prompts)")  # fmt: skip
            at = sizes.index(curve["peak"]["n"])
            axes.plot(sizes[at], gold[at], marker="o", markersize=9, markerfacecolor="none",
                      color=colour)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlabel("n (log scale)")
        axes.set_ylabel("gold of the best of n")
        axes.grid(axis="y")
        put_legend(axes, columns=1)

    label = "Gold of the response that the reward chooses among n, by n"
    return draw_figure("best-of-n", label, paint, height=2.6 + 0.17 * len(shown))


def plot_forecast(found: Mapping[str, Any] | None) -> str:
    """Accuracy by the number of labels: measured on nested subsets, and forecast beyond them.

    Args:
        found: what `pipelines.ship.exams.forecast.forecast` says.
    """
    if not found or not found["points"]:
        return say_no_data((found or {}).get("reason") or "there are too few labels to forecast")

    def paint(axes: Any) -> None:
        axes.axhline(0.5, color=LINE, linewidth=1, linestyle="--")
        for key, colour, marker, style, told in (
            ("points", BLUE, "o", "-", "measured"),
            ("ahead", ORANGE, "D", "--", "forecast"),
        ):
            rows = found[key]
            if not rows:
                continue
            sizes = [row["n"] for row in rows]
            for row in rows:
                axes.plot([row["n"]] * 2, row["ci"], color=colour, linewidth=1.4)
            axes.plot(sizes, [row["score"] for row in rows], color=colour, marker=marker,
                      markersize=4.5, linewidth=1.4, linestyle=style, label=told)  # fmt: skip
        if found["ceiling"]:
            axes.axhline(found["ceiling"]["score"], color=DARK, linewidth=1, linestyle=":")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("labels (log scale; dotted: where the curve ends)")
        axes.set_ylabel("accuracy of the small probe")
        put_legend(axes, columns=2)

    return draw_figure("forecast", "Accuracy by the number of labels, and its forecast", paint)
