"""The figures of a report that say what people's time was worth, as inline SVG (see
`pipelines.ship.figures`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.ship.figures import (
    BARS_AT_MOST,
    BLUE,
    DARK,
    LINE,
    ORANGE,
    draw_figure,
    name_bars,
    put_legend,
    say_no_data,
    shorten,
)

PERSON_CHARS = 20  # beside the number of a batch


def plot_people(people: Sequence[Mapping[str, Any]], bar: float) -> str:
    """How often each person is right on hidden gold, with the 95 % interval.

    Args:
        people: number (of the batch), annotator, n_gold, accuracy, accuracy_low, accuracy_high,
            aside; those without a label on hidden gold are left out. Of more than `BARS_AT_MOST`,
            those with the most such labels are drawn.
        bar: the accuracy that is asked for, a dashed line.
    """
    known = [row for row in people if row["accuracy"] is not None]
    if not known:
        return say_no_data("nobody has answered hidden gold")
    most = sorted(known, key=lambda row: -row["n_gold"])[:BARS_AT_MOST]
    shown = sorted(most, key=lambda row: (row["number"], row["annotator"]))
    several = len({row["number"] for row in people}) > 1
    signs = ((False, "counts", BLUE, "o"), (True, "set aside", ORANGE, "D"))

    def paint(axes: Any) -> None:
        axes.axvline(bar, color=LINE, linewidth=1, linestyle="--")
        for aside, label, colour, marker in signs:
            mine = [(place, row) for place, row in enumerate(shown) if row["aside"] == aside]
            for place, row in mine:
                ends = [row["accuracy_low"], row["accuracy_high"]]
                axes.plot(ends, [place] * 2, color=colour, linewidth=2)
            if mine:
                axes.plot([row["accuracy"] for _, row in mine], [place for place, _ in mine],
                          linestyle="", marker=marker, markersize=6, color=colour,
                          label=label)  # fmt: skip
        name_bars(
            axes,
            [f"{shorten(row['annotator'], PERSON_CHARS)}, batch {row['number']}" if several
             else row["annotator"] for row in shown],
            [row["accuracy_high"] for row in shown],
            [f"{round(row['accuracy'] * row['n_gold']):,} of {row['n_gold']:,}" for row in shown],
        )  # fmt: skip
        axes.set_xlim(0, 1.3)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        more = f" ({len(shown)} of {len(known)})" if len(shown) < len(known) else ""
        axes.set_xlabel(f"right on hidden gold{more}")
        if any(row["aside"] for row in shown):
            put_legend(axes, columns=2)

    label = "Accuracy on hidden gold, by person"
    return draw_figure("people", label, paint, len(shown))


def plot_minutes(curve: Sequence[Mapping[str, Any]], exams: Sequence[Mapping[str, Any]]) -> str:
    """What people's minutes bought: gold labels, and under them the accuracy of the reward models
    where several were examined.

    Args:
        curve: minutes, gold, in order.
        exams: version, minutes, accuracy, low, high, in order.
    """
    if not curve or not curve[-1]["minutes"] or not curve[-1]["gold"]:
        return say_no_data("no timed answer has become gold")

    def paint(*each: Any) -> None:
        gold = each[0]
        gold.step([row["minutes"] for row in curve], [row["gold"] for row in curve], where="post",
                  color=BLUE, linewidth=1.8)  # fmt: skip
        gold.set_ylabel("gold labels")
        gold.yaxis.get_major_locator().set_params(integer=True)
        for axes in each:
            axes.grid(axis="y")
        if exams:
            model = each[1]
            at = [row["minutes"] for row in exams]
            for row in exams:
                model.plot([row["minutes"]] * 2, [row["low"], row["high"]], color=ORANGE)
                model.annotate(f"@{row['version']}", (row["minutes"], row["accuracy"]),
                               xytext=(6, 4), textcoords="offset points", fontsize=8,
                               color=DARK)  # fmt: skip
            model.plot(at, [row["accuracy"] for row in exams], color=ORANGE, linewidth=1.8,
                       marker="o", markersize=5)  # fmt: skip
            model.set_ylim(0, 1)
            model.set_ylabel("model accuracy")
        most = max(row["minutes"] for row in [*curve, *exams])
        each[-1].set_xlim(-0.02 * most, 1.06 * most)
        each[-1].set_xlabel("people’s minutes, all together")

    label = "Gold labels by minutes of people's time"
    if exams:
        label += ", and the accuracy of the reward models"
    panels = 2 if exams else 1
    return draw_figure("minutes", label, paint, height=1.9 * panels + 0.5, panels=panels)


def plot_learning(learning: Mapping[str, Any]) -> str:
    """How right a policy's labels were on gold that it did not know, and a small reward model
    taught by them, by minutes of people's time; nothing where gold is too little.

    Args:
        learning: of `pipelines.label.people.learning.trace_learning`.
    """
    curves = (("labels", "the policy’s labels", BLUE, "o"),
              ("model", "a small reward model", ORANGE, "D"))  # fmt: skip
    drawn = [(words, learning[name], colour, sign) for name, words, colour, sign in curves]
    drawn = [curve for curve in drawn if any(row.get("coverage", 1) for row in curve[1])]
    if not drawn:
        return ""

    def paint(axes: Any) -> None:
        axes.axhline(0.5, color=LINE, linewidth=1, linestyle="--")
        for words, points, colour, sign in drawn:
            at = [row["minutes"] for row in points]
            axes.fill_between(at, [row["low"] for row in points], [row["high"] for row in points],
                              color=colour, alpha=0.15, linewidth=0)  # fmt: skip
            axes.plot(at, [row["accuracy"] for row in points], color=colour, linewidth=1.8,
                      marker=sign, markersize=5, label=words)  # fmt: skip
        axes.grid(axis="y")
        least = min(row["low"] for _, points, *_ in drawn for row in points)
        axes.set_ylim(min(0.4, least - 0.02), 1.02)
        axes.set_ylabel("right on held-out gold")
        axes.set_xlabel("people’s minutes, all together")
        put_legend(axes, columns=2)

    return draw_figure(
        "learning", "Accuracy of labels and of a small reward model by minutes", paint, height=2.9
    )


def plot_prototypes(cards: Sequence[Mapping[str, Any]]) -> str:
    """How well each prototype's people are known on held-out pairs, by their prototype (with its
    95 % interval) and by one model for everybody.

    Args:
        cards: prototype, annotators, accuracy, accuracy_low, accuracy_high, pool_accuracy; those
            without an accuracy are left out.
    """
    known = [card for card in cards if card["accuracy"] is not None]
    if not known:
        return say_no_data("no prototype was measured")

    def paint(axes: Any) -> None:
        axes.axvline(0.5, color=LINE, linewidth=1, linestyle="--")
        for place, card in enumerate(known):
            ends = [card["accuracy_low"], card["accuracy_high"]]
            axes.plot(ends, [place] * 2, color=BLUE, linewidth=2)
        places = range(len(known))
        for key, label, colour, marker in (
            ("accuracy", "its own model", BLUE, "o"),
            ("pool_accuracy", "one model for everybody", ORANGE, "D"),
        ):
            axes.plot([card[key] for card in known], places, linestyle="", marker=marker,
                      markersize=6, color=colour, label=label)  # fmt: skip
        name_bars(
            axes,
            [card["prototype"] for card in known],
            [max(card["accuracy_high"], card["pool_accuracy"]) for card in known],
            [f"{card['annotators']:,} people" for card in known],
        )
        axes.set_xlim(0, 1.3)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("right on held-out pairs (dashed: chance)")
        put_legend(axes, columns=2)

    label = "Accuracy on held-out pairs, by prototype of people"
    return draw_figure("prototypes", label, paint, len(known))
