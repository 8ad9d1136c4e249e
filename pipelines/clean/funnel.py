"""The funnel: how many prompts, responses and pairs came in, what each rule took, what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.clean.rule_names import name_rule

KINDS = {
    "prompts": ("dedup", "decontaminate", "split", "quality_prompts"),
    "responses": (
        "filter_responses", "decontaminate_responses", "quality_responses", "repeats",
    ),
    "pairs": ("label", "filter", "quality_pairs", "mix", "match"),
}  # fmt: skip
WAITING = "waits for people"
Stage = Mapping[str, Any]


def lay_out_funnels(
    stages: Sequence[Stage], published: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """The funnel of each kind of row that a recipe cleans.

    Args:
        stages: `StageSummary.to_json()` objects in the order they ran.
        published: the pairs of the version; the last line of the pairs.

    Returns:
        kind -> the lines of `lay_out_funnel`; a kind without stages is absent.
    """
    found = {}
    for kind, names in KINDS.items():
        mine = [stage for stage in stages if stage.get("stage") in names]
        if mine:
            found[kind] = lay_out_funnel(mine, published if kind == "pairs" else None)
    return found


def lay_out_funnel(stages: Sequence[Stage], published: int | None = None) -> list[dict[str, Any]]:
    """The lines of a funnel: stage, what (`in`, `dropped`, `quarantined`, `waiting`, `between`,
    `out`), name (of the rule, or the reason), words (what a person reads for it), rows, left (after
    it), and start and width of its bar in per cent of the most rows.

    Each line's `left` is the one before it less its `rows`. Rows that the next stage did not get
    from the one before are a line `between`, negative where it got more: nothing is passed over.
    """
    lines: list[dict[str, Any]] = []
    left = int(stages[0]["rows_in"])
    lines.append(_make_line("", "in", "in", left, left))
    for stage in stages:
        for what, name, rows in _list_losses(stage, left):
            left -= rows
            lines.append(_make_line(str(stage["stage"]), what, name, rows, left))
    if published is not None and published != left:
        lines.append(_make_line("", "between", "not passed on", left - published, published))
        left = published
    out = "kept" if published is None else "published"
    lines.append(_make_line("", "out", out, left, left))
    most = max(max(line["left"], line["rows"]) for line in lines) or 1
    for line in lines:
        whole = line["what"] in ("in", "out")
        start = 0 if whole else min(line["left"], line["left"] + line["rows"])
        line |= {"start": 100 * start / most, "width": 100 * abs(line["rows"]) / most}
    return lines


def _list_losses(stage: Stage, before: int) -> Iterator[tuple[str, str, int]]:
    """What, name and rows of all that a stage takes away."""
    gap = before - int(stage["rows_in"])
    if gap:
        yield "between", "not passed on" if gap > 0 else "joined", gap
    for what in ("quarantined", "dropped"):
        for name, rows in stage.get(what, {}).items():
            if rows:
                yield what, name, rows
    if stage["stage"] == "label" and stage.get("to_review"):
        yield "waiting", WAITING, stage["to_review"]


def _make_line(stage: str, what: str, name: str, rows: int, left: int) -> dict[str, Any]:
    words = name_rule(name) if what == "dropped" else name
    return {"stage": stage, "what": what, "name": name, "words": words, "rows": rows, "left": left}
