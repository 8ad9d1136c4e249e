"""The figures of a report as inline SVG: plain frames in, a string for an HTML page out.

Every figure is drawn in Okabe-Ito colours that differ in lightness as well as in hue, carries no
date and no random id, and is narrow enough to be read on a phone. Where there is nothing to draw
the string is a one-line note, so that a page never shows an empty pair of axes.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

BLUE, ORANGE, DARK, LINE = "#0072B2", "#E69F00", "#4D4D4D", "#BFBFBF"
WIDTH = 5.0  # inches; 480 px on a screen
BARS_AT_MOST = 40
LABEL_CHARS = 30
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": DARK,
    "axes.axisbelow": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": DARK,
    "ytick.labelcolor": "black",
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "text.parse_math": False,
}


def plot_funnel(stages: Sequence[Mapping[str, Any]]) -> str:
    """What became of the rows of each stage: a bar of kept, dropped and quarantined rows.

    Args:
        stages: `StageSummary.to_json()` objects in the order they ran; absent counts are 0.
    """
    if not stages:
        return say_no_data("no stage is recorded")
    kept = [_count(stage.get("kept")) for stage in stages]
    dropped = [_count(stage.get("dropped")) for stage in stages]
    quarantined = [_count(stage.get("quarantined")) for stage in stages]
    rows_in = [
        _count(stage.get("rows_in", sum(parts)))
        for stage, *parts in zip(stages, kept, dropped, quarantined, strict=True)
    ]
    notes = [f"{n_in:,} → {n_kept:,}" for n_in, n_kept in zip(rows_in, kept, strict=True)]

    def paint(axes: Any) -> None:
        left = [0] * len(stages)
        parts = (
            ("kept", kept, BLUE),
            ("dropped", dropped, ORANGE),
            ("quarantined", quarantined, DARK),
        )
        for label, counts, colour in parts:
            axes.barh(range(len(stages)), counts, left=left, color=colour, label=label, height=0.62)
            left = [a + b for a, b in zip(left, counts, strict=True)]
        name_bars(axes, [str(stage.get("stage", "?")) for stage in stages], left, notes)
        axes.set_xlabel("rows (in → kept)")
        put_legend(axes, columns=3)

    return draw_figure(
        "funnel", "Rows kept, dropped and quarantined by each stage", paint, len(stages)
    )


def plot_margins(margins: Sequence[float] | pl.Series) -> str:
    """A histogram of the label margins (2 * probability - 1, in [0, 1])."""
    values = _numbers(margins)
    if not len(values):
        return say_no_data("no pair has a margin")

    def paint(axes: Any) -> None:
        axes.hist(values.to_numpy(), bins=20, range=(0, 1), color=BLUE, edgecolor="white")
        axes.set_xlim(0, 1)
        axes.set_xlabel("margin (2 × probability − 1)")
        _count_upwards(axes)

    return draw_figure("margins", "How sure the labels are: pairs by margin", paint)


def plot_lengths(
    chosen_chars: Sequence[int] | pl.Series, rejected_chars: Sequence[int] | pl.Series
) -> str:
    """The lengths of chosen against rejected responses, in characters, with their medians.

    Lengths that span more than a factor of 20 are drawn on a logarithmic axis.
    """
    chosen, rejected = _numbers(chosen_chars), _numbers(rejected_chars)
    if not len(chosen) or not len(rejected):
        return say_no_data("no pair has lengths")
    import numpy as np

    both = pl.concat([chosen, rejected]).clip(lower_bound=1).to_numpy()
    low, high = float(both.min()), float(both.max())
    logarithmic = high / low > 20
    high = max(high, low + 1)
    edges = np.geomspace(low, high, 25) if logarithmic else np.linspace(low, high, 25)

    def paint(axes: Any) -> None:
        for label, values, colour, style in (
            ("chosen", chosen, BLUE, "-"),
            ("rejected", rejected, ORANGE, "--"),
        ):
            lengths = values.clip(lower_bound=1).to_numpy()
            counts, _ = np.histogram(lengths, edges)
            middle = float(np.median(lengths))
            axes.stairs(counts, edges, color=colour, linewidth=1.8, linestyle=style,
                        label=f"{label} (median {middle:,.0f})")  # fmt: skip
            axes.axvline(middle, color=colour, linewidth=1, linestyle=":")
        if logarithmic:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel(f"response length (characters{', log scale' if logarithmic else ''})")
        _count_upwards(axes)
        put_legend(axes, columns=2)

    return draw_figure("lengths", "Lengths of chosen and rejected responses", paint)


def plot_categories(frame: pl.DataFrame) -> str:
    """Pairs by category with their share, and a mark where the quota stands.

    Args:
        frame: `category`, `pairs` (count), `quota` (pairs wanted, null where there is no quota).
    """
    total = frame["pairs"].sum() if len(frame) else 0
    wanted = frame["quota"].drop_nulls().sum() if len(frame) else 0
    if not total and not wanted:
        return say_no_data("no pair to count")
    shown = frame.sort(["pairs", "category"], descending=[True, False]).head(BARS_AT_MOST)
    pairs = shown["pairs"].to_list()
    quota = [(place, n) for place, n in enumerate(shown["quota"]) if n is not None]

    def paint(axes: Any) -> None:
        axes.barh(range(len(pairs)), pairs, color=BLUE, height=0.62, label="pairs (share)")
        if quota:
            places, marks = zip(*quota, strict=True)
            axes.scatter(marks, places, marker="|", s=130, linewidth=2.2, color="black",
                         zorder=3, label="quota")  # fmt: skip
            put_legend(axes, columns=2)
        ends = [max(n, dict(quota).get(place, 0)) for place, n in enumerate(pairs)]
        notes = [f"{n:,} ({100 * n / total:.0f} %)" if total else f"{n:,}" for n in pairs]
        name_bars(axes, shown["category"].to_list(), ends, notes)
        more = f" (the {len(shown)} largest of {len(frame)})" if len(frame) > len(shown) else ""
        axes.set_xlabel(f"pairs{more}")

    return draw_figure("categories", "Pairs by category against the quota", paint, len(shown))


def plot_order_flips(frame: pl.DataFrame) -> str:
    """How often each judge says the same when the two responses change places.

    Args:
        frame: `annotator`, `agree` and `flipped` (pairs that were read in both orders).
    """
    read = frame.filter(pl.col("agree") + pl.col("flipped") > 0)
    if not len(read):
        return say_no_data("no pair was judged in both orders")
    both = (read["agree"] + read["flipped"]).to_list()
    agree = [100 * a / n for a, n in zip(read["agree"], both, strict=True)]

    def paint(axes: Any) -> None:
        places = range(len(read))
        rest = [100 - share for share in agree]
        axes.barh(places, agree, color=BLUE, height=0.62, label="same verdict")
        axes.barh(places, rest, left=agree, color=ORANGE, height=0.62, label="flipped")
        notes = [f"{share:.0f} % of {n:,}" for share, n in zip(agree, both, strict=True)]
        name_bars(axes, read["annotator"].to_list(), [100] * len(read), notes)
        axes.set_xlabel("pairs judged in both orders (%)")
        axes.set_xticks(range(0, 101, 25))
        put_legend(axes, columns=2)

    return draw_figure("flips", "Verdicts that survive a change of order", paint, len(read))


def plot_training(frame: pl.DataFrame) -> str:
    """The training loss by optimiser step, and the accuracy under it where there is one.

    Args:
        frame: `step`, `loss`, `accuracy` (in [0, 1]; may be null).
    """
    if not len(frame) or not frame["loss"].is_not_null().any():
        return say_no_data("no training curve is recorded")
    panels = [("loss", "loss (nats)", BLUE)]
    if frame["accuracy"].is_not_null().any():
        panels.append(("accuracy", "accuracy", ORANGE))

    def paint(*each: Any) -> None:
        for axes, (column, label, colour) in zip(each, panels, strict=True):
            known = frame.select("step", column).drop_nulls().sort("step")
            marker = "o" if len(known) <= 30 else None
            axes.plot(known["step"].to_list(), known[column].to_list(), color=colour,
                      linewidth=1.8, marker=marker, markersize=3.5)  # fmt: skip
            axes.set_ylabel(label)
            axes.grid(axis="y")
            if column == "accuracy":
                axes.set_ylim(0, 1)
        each[-1].set_xlabel("optimiser step")
        each[-1].xaxis.get_major_locator().set_params(integer=True)

    return draw_figure(
        "training", "Training curve", paint, height=1.7 * len(panels), panels=len(panels)
    )


def plot_exam(frame: pl.DataFrame) -> str:
    """Accuracies with their 95 % intervals, the model first and the baselines under it.

    Args:
        frame: `name`, `score`, `ci_low`, `ci_high` (in [0, 1]; the interval may be null).
    """
    known = frame.filter(pl.col("score").is_not_null())
    if not len(known):
        return say_no_data("no examination is recorded")

    def paint(axes: Any) -> None:
        axes.axvline(0.5, color=LINE, linewidth=1, linestyle="--")
        for place, row in enumerate(known.iter_rows(named=True)):
            colour, marker = (BLUE, "o") if place == 0 else (DARK, "D")
            if row["ci_low"] is not None and row["ci_high"] is not None:
                axes.plot([row["ci_low"], row["ci_high"]], [place] * 2, color=colour, linewidth=2)
            axes.plot(row["score"], place, marker=marker, markersize=6, color=colour)
        notes = [f"{score:.3f}" for score in known["score"]]
        ends = known.select(pl.max_horizontal("score", "ci_high"))["score"].to_list()
        name_bars(axes, known["name"].to_list(), ends, notes)
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("accuracy (bar: 95 % interval; dashed: chance)")

    return draw_figure(
        "exam", "Accuracy of the reward model and of the baselines", paint, len(known)
    )


def draw_figure(
    name: str,
    label: str,
    paint: Callable[..., None],
    bars: int = 0,
    *,
    height: float = 2.6,
    panels: int = 1,
    share: bool = True,
) -> str:
    """Paint onto fresh axes and return the SVG, with `name` before its ids.

    Args:
        label: what a reader who cannot see the figure is told.
        paint: draws on one axes each panel.
        bars: this many horizontal bars set the height, in place of `height` (inches).
        share: whether the panels have one x axis.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**STYLE, "svg.hashsalt": name}):
        size = (WIDTH, 0.95 + 0.3 * bars if bars else height)
        figure = Figure(figsize=size, layout="constrained")
        paint(*figure.subplots(panels, 1, sharex=share, squeeze=False)[:, 0])
        stored = io.StringIO()
        figure.savefig(stored, format="svg", transparent=True, metadata={"Date": None})
    return _make_inline(stored.getvalue(), name, label)


def _make_inline(svg: str, name: str, label: str) -> str:
    """The `<svg>` element alone, with ids that no other figure of the page has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    opening, rest = svg.split(">", 1)
    width, height = (re.search(rf'{key}="([\d.]+)pt"', opening) for key in ("width", "height"))
    assert width and height
    box = f"0 0 {width[1]} {height[1]}"
    return f'<svg viewBox="{box}" role="img" aria-label="{html.escape(label)}">{rest.strip()}'


def name_bars(axes: Any, names: Sequence[str], ends: Sequence[float], notes: Sequence[str]) -> None:
    """Label horizontal bars on the left and note their numbers beyond their ends."""
    short = [shorten(name, LABEL_CHARS) for name in names]
    axes.set_yticks(range(len(short)), short)
    axes.set_ylim(len(short) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    widest = max([*ends, 0]) or 1
    axes.set_xlim(0, widest * (1.08 + 0.024 * max(map(len, notes))))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    for place, (end, note) in enumerate(zip(ends, notes, strict=True)):
        axes.text(end + widest * 0.02, place, note, va="center", fontsize=8, color=DARK)


def shorten(name: str, chars: int) -> str:
    """A long name without its middle: judges differ at the end, in the hash of their template."""
    half = (chars - 1) // 2
    return name if len(name) <= chars else f"{name[: chars - 1 - half]}…{name[-half:]}"


def put_legend(axes: Any, columns: int) -> None:
    """The legend above the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2,
                handlelength=1.4, columnspacing=1.4)  # fmt: skip


def _count_upwards(axes: Any) -> None:
    axes.set_ylabel("pairs")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")


def _count(value: Any) -> int:
    """A count, or the sum of counts by rule or reason; 0 where there is none."""
    return sum(value.values()) if isinstance(value, Mapping) else int(value or 0)


def _numbers(values: Sequence[float] | pl.Series) -> pl.Series:
    series = values if isinstance(values, pl.Series) else pl.Series(list(values), dtype=pl.Float64)
    return series.cast(pl.Float64).drop_nulls().drop_nans()


def say_no_data(why: str) -> str:
    """The note that stands in a figure's place."""
    return f'<p class="no-data">No data: {html.escape(why)}.</p>'
