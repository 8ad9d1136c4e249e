"""What the sources and voices of a version are worth, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def render_sources(found: Row) -> str:
    """The tables of `pipelines.ship.sources.taking.take_sources`."""
    lines = [f"sources of {found['version']}"]
    lines += lay_out(
        ("source", "pairs", "train", "labels of", "margin", "longer", "right on gold",
         "came right"),
        [
            (row["source"], f"{row['pairs']:,}", f"{row['train']:,}", _name_kinds(row["labels"]),
             f"{row['margin']:.2f}", _share(row["longer"]), _right(row["label_right"]),
             _right(row["came_right"]))
            for row in found["sources"]
        ],
    )  # fmt: skip
    judged = [(row["source"], *_agreement(judge)) for row in found["sources"]
              for judge in row["judges"]]  # fmt: skip
    if judged:
        lines += ["", "on the label’s side"]
        lines += lay_out(("source", "judge", "pairs", "agrees"), judged)
    lines += ["", *_render_worth(found)]
    return "\n".join([*lines, "", *_render_voices(found["voices"])])


def lay_out(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows under their heads, the first column to the left."""
    table = [heads, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def tell_points(row: Row, name: str) -> str:
    """A difference of shares and its interval, in points."""
    if row.get(name) is None:
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    told = f"{100 * row[name]:+.1f}"
    return told if low is None else f"{told} ({100 * low:+.1f} to {100 * high:+.1f})"


def _render_worth(found: Row) -> list[str]:
    exam = found["exam"]
    if exam["needed"]:
        return [f"what a source is worth: unknown; {exam['needed']}"]
    low, high = exam["ci"]
    taught = f"{exam['taught']:,}"
    if exam.get("of", 0) > exam["taught"]:
        taught += f" of {exam['of']:,}"
    lines = [
        f"what a source is worth: accuracy of the small probe ({exam['score']:.1%}, 95 % "
        f"{low:.1%} to {high:.1%}, of {taught} pairs) less that without it, in points, "
        f"on {exam['n']:,} held-out pairs of {exam['prompts']:,} prompts"
    ]
    known = [row for row in found["sources"] if row["worth"]]
    known.sort(key=lambda row: -(row["worth"]["value"] or 0))
    lines += lay_out(
        ("source", "taught", "value (95 %)", "random rows (95 %)", "beyond its rows (95 %)"),
        [
            (row["source"], f"{row['worth']['n']:,}",
             *(tell_points(row["worth"], name) for name in ("value", "random", "beyond")))
            for row in known
        ],
    )  # fmt: skip
    return lines + list_notes(found)


def list_notes(found: Row) -> list[str]:
    """What a reader of the values must know, a sentence each."""
    notes = []
    for row in found["sources"]:
        worth = row["worth"] or {}
        said = [worth["reason"]] if worth.get("reason") else []
        notes += [f"{row['source']}: {note}" for note in [*said, *worth.get("notes", [])]]
    return notes


def head_voices(voices: Row) -> str:
    """What the table of voices shows, in words."""
    exam = voices["exam"]
    of = "all of the exam" if exam == voices["held"] else f"{exam:,} of them of the exam"
    kept = "" if exam < voices["held"] else "; kept: how many more of the other pairs get a label"
    if voices["precision"] is not None:
        share = f"{voices['precision']:.1%}"
        kept = f"; kept: how many more of the pairs at an estimated precision of {share}"
    return (
        f"what a voice is worth: labels made with it ({voices['accuracy']:.1%} right) less those "
        f"without it, in points, on {voices['held']:,} gold pairs, {of}{kept}"
    )


def _render_voices(voices: Row) -> list[str]:
    if voices["unknown"]:
        return [f"what a voice is worth: unknown; {voices['unknown']}"]
    return [
        head_voices(voices),
        *lay_out(
            ("voice", "kind", "pairs", "value (95 %)", "kept (95 %)"),
            [
                (row["voice"], row["what"], f"{row['n']:,}", tell_points(row, "value"),
                 tell_points(row, "kept"))
                for row in voices["voices"]
            ],
        ),
    ]  # fmt: skip


def _name_kinds(labels: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in labels.items()) or "–"


def _agreement(judge: Row) -> tuple[str, str, str]:
    return judge["annotator"], f"{judge['n']:,}", _share(judge["agree"])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _right(row: Row | None) -> str:
    if row is None:
        return "–"
    return f"{row['right']:.1%} ({row['low']:.1%} to {row['high']:.1%}, n = {row['n']})"
