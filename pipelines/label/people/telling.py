"""Prototypes as they are told: what was tried, whom the labels serve how well, and where they
part. The same facts go to the command, its JSON and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.label.people.fits import Fit
from pipelines.label.people.tastes import Tastes
from pipelines.label.showing import align, say
from schemas.errors import AssayError

EXAMPLES = 3
Row = dict[str, Any]


class MembersNotWritten(AssayError):
    """The file of members cannot be written; the message says where and why."""


def tell_fit(fit: Fit) -> Row:
    """fit, opinions, pairs, people, cards (of `Prototypes`, with share: of the annotators, as the
    mixture sees them), merged (how many annotators each prototype had that is now in the pool),
    trials, chosen (how many of these are prototypes) and newcomers (empty where people do not
    differ or are too few)."""
    found = fit.found
    shares = dict(zip(found.names, found.shares.tolist(), strict=True))
    cards = [{**card, "share": shares[card["prototype"]]} for card in found.cards.to_dicts()]
    return {
        "fit": fit.fit_id,
        "opinions": fit.opinions,
        "pairs": fit.pairs,
        "people": len(found.members),
        "chosen": len(found.names) - ("pool" in found.names and len(found.names) > 1),
        "cards": cards,
        "merged": list(found.merged),
        "trials": found.trials.to_dicts(),
        "newcomers": [] if fit.newcomers is None else fit.newcomers.to_dicts(),
    }


def tell_tastes(tastes: Tastes) -> Row:
    """`tell_fit`, and of the candidate pairs with vectors how many there are (`candidates`), how
    many prototypes part on (`parted`), and the clearest of those."""
    parted = tastes.said.filter("parted").sort("torn", "pair_id", descending=[True, False])
    return {
        **tell_fit(tastes.fit),
        "candidates": len(tastes.said),
        "parted": len(parted),
        "examples": parted.select("pair_id", "why").head(EXAMPLES).to_dicts(),
    }


def render_prototypes(told: Row) -> str:
    """What `tell_tastes` tells, as text."""
    parts = [
        f"{told['opinions']:,} opinions of {told['people']:,} people on {told['pairs']:,} pairs",
        _render_trials(told),
        _render_cards(told),
    ]
    if told["newcomers"]:
        parts.append(_render_newcomers(told["newcomers"]))
    elif len(told["cards"]) > 1:
        parts.append("too few people have said enough to tell how soon a newcomer is known")
    if len(told["cards"]) > 1:
        lines = [f"prototypes part on {told['parted']:,} of {told['candidates']:,} candidate pairs"]
        lines += [f"  {row['pair_id'][:12]}: {row['why']}" for row in told["examples"]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def write_members(fit: Fit, file: Path) -> None:
    """annotator (a pseudonym), prototype (the likeliest), probability, opinions, as CSV.

    Raises:
        MembersNotWritten: see there.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fit.found.members.write_csv(file)
    except OSError as error:
        reason = error.strerror or error
        raise MembersNotWritten(f"{file} cannot be written: {reason}; name another file") from error


def _render_trials(told: Row) -> str:
    rows = [["prototypes tried", "log likelihood", "gain", "± error", "right on held-out pairs"]]
    for row in told["trials"]:
        chosen = row["k"] == len(told["cards"])
        rows.append(
            [
                f"{row['k']}{' (chosen)' if chosen else ''}",
                say(row["log_likelihood"], "{:.4f}"),
                say(row["gain"], "{:+.4f}"),
                say(row["gain_error"], "{:.4f}"),
                say(row["accuracy"], "{:.1%}"),
            ]
        )
    return align(rows)


def _render_cards(told: Row) -> str:
    head = ["prototype", "people", "share", "held-out opinions", "right", "95 %", "pool right"]
    rows = [head]
    for card in told["cards"]:
        known = card["accuracy"] is not None
        ends = f"{card['accuracy_low']:.1%} to {card['accuracy_high']:.1%}" if known else "–"
        rows.append(
            [card["prototype"], str(card["annotators"]), say(card["share"], "{:.0%}"),
             f"{card['opinions']:,}", say(card["accuracy"], "{:.1%}"), ends,
             say(card["pool_accuracy"], "{:.1%}")]
        )  # fmt: skip
    text = align(rows)
    if told["merged"]:
        sizes = ", ".join(str(size) for size in told["merged"])
        text += f"\nmerged into the pool, because too few people: prototypes of {sizes}"
    return text


def _render_newcomers(curve: list[Row]) -> str:
    rows = [["a newcomer, by opinions seen", "right", "pool right"]]
    rows += [
        [str(row["seen"]), say(row["accuracy"], "{:.1%}"), say(row["pool_accuracy"], "{:.1%}")]
        for row in curve
    ]
    return align(rows)
