"""Reliability as lines that a person reads."""

from __future__ import annotations

from typing import Any

from annotators.planning import Plan
from pipelines.label.reliability import Reliability

COLUMNS = (
    ("n", "opinions", "{:.0f}"),
    ("parse_failures", "unread", "{:.0f}"),
    ("calls_failed", "failed", "{:.0f}"),
    ("accuracy", "right", "{:.1%}"),
    ("n_gold", "of gold", "{:.0f}"),
    ("orders_agree", "orders agree", "{:.1%}"),
    ("order_flip_rate", "orders flip", "{:.1%}"),
    ("accuracy_when_orders_agree", "right then", "{:.1%}"),
    ("first_position_rate", "first wins", "{:.1%}"),
    ("longer_wins_rate", "longer wins", "{:.1%}"),
    ("ece", "ECE", "{:.3f}"),
    ("tokens_per_label", "tokens/label", "{:.0f}"),
    ("seconds_per_label", "s/label", "{:.2f}"),
)


CYCLES_SHOWN = 5
TABLES = (
    ("rankings", {"annotator": "ranking", "groups": "groups", "waiting": "waiting for a call",
                  "cyclic": "with a cycle"}),
    ("policies", {"annotator": "policy judge", "policy": "policy", "version": "version",
                  "judged": "judged", "broken": "break it", "stale": "stale"}),
    ("failures", {"annotator": "failure check", "failure_class": "failure", "checked": "checked",
                  "found": "found"}),
)  # fmt: skip


def render_reliability(found: Reliability) -> str:
    """Cards, agreement, shared errors, the plan, and what rankings, policies and failure checks
    came to, as text."""
    if not len(found.cards):
        return "nobody has an opinion on a pair yet: assay judge RECIPE, or assay import"
    gold = f"gold: {len(found.gold)} pairs, from {', '.join(found.sources) or 'nobody'}"
    parts = [gold, align(_tabulate_cards(found))]
    if not len(found.gold):
        parts[0] = (
            "gold: none, so nothing says who is right. People make it (assay review push), or it "
            "is recorded (assay import --judgments FILE, with gold true)"
        )
    if len(found.kappas):
        rows = [["annotators", "pairs", "agree", "kappa"]]
        for row in found.kappas.iter_rows(named=True):
            pair = f"{row['annotator_1']} · {row['annotator_2']}"
            rows.append([pair, str(row["n"]), say(row["agreement"], "{:.1%}"),
                         say(row["kappa"], "{:.2f}")])  # fmt: skip
        parts.append(align(rows))
    if len(found.errors):
        rows = [["errors shared", "pairs", "both wrong", "correlation"]]
        for row in found.errors.iter_rows(named=True):
            pair = f"{row['annotator_1']} · {row['annotator_2']}"
            rows.append([pair, str(row["n"]), say(row["both"], "{:.1%}"),
                         say(row["phi"], "{:.2f}")])  # fmt: skip
        parts.append(align(rows))
    plans = [_describe_plan(plan) for plan in found.plans]
    if plans:
        parts.append("\n".join(["what gold recommends", *plans]))
    for name, heads in TABLES:
        rows = [list(heads.values())]
        rows += [[_name(cell) for cell in row]
                 for row in getattr(found, name).select(list(heads)).iter_rows()]  # fmt: skip
        if len(rows) > 1:
            parts.append(align(rows))
    if len(found.cycles):
        parts.append(_describe_cycles(found))
    return "\n\n".join(parts)


def _tabulate_cards(found: Reliability) -> list[list[str]]:
    rows = [["annotator", *(title for _, title, _ in COLUMNS)]]
    for card in found.cards.iter_rows(named=True):
        rows.append([card["annotator"], *(say(card[key], form) for key, _, form in COLUMNS)])
    return rows


def _describe_cycles(found: Reliability) -> str:
    """The first preference cycles; the rest are counted."""
    lines = [f"preference cycles ({len(found.cycles)}); their pairs are not spoken for"]
    for _, prompt_id, cycle in found.cycles.head(CYCLES_SHOWN).iter_rows():
        beats = " > ".join(response[:12] for response in [*cycle, cycle[0]])
        lines.append(f"  prompt {prompt_id[:12]}: {beats}")
    if len(found.cycles) > CYCLES_SHOWN:
        lines.append(f"  {len(found.cycles) - CYCLES_SHOWN} more with --json")
    return "\n".join(lines)


def _describe_plan(plan: Plan) -> str:
    name = plan.category or "all categories"
    if not plan.enough:
        return f"  {name}: gold is too little to choose ({plan.reason})"
    jury = ", ".join(f"{juror.annotator} (weight {juror.weight:.2f})" for juror in plan.jury)
    lines = [f"  {name} ({plan.n_gold} pairs): {jury or 'no judge beats a guess'}"]
    if plan.accuracy is not None:
        lines.append(
            f"    held-out accuracy {plan.accuracy:.1%} (95 % {plan.low or 0:.1%} to "
            f"{plan.high or 0:.1%}), best judge alone {say(plan.accuracy_single, '{:.1%}')}"
        )
    if plan.temperature is not None:
        lines.append(f"    the votes' weights over a temperature of {plan.temperature:g} are odds")
    for curve in plan.samples:
        if curve.k is not None and len(curve.points) > 1:
            lines.append(f"    {curve.annotator}: {curve.k} samples an order are enough")
    for advice in plan.orders:
        if advice.drop:
            lines.append(
                f"    {advice.annotator}: drop the pairs whose orders disagree "
                f"({advice.accuracy:.1%} -> {say(advice.accuracy_kept, '{:.1%}')} right, "
                f"{advice.coverage:.0%} left)"
            )
    return "\n".join(lines)


def _name(value: Any) -> str:
    return str(value) if not isinstance(value, bool) else "yes" if value else "no"


def say(value: Any, form: str) -> str:
    """A value in its form, a dash for what is not known."""
    return "–" if value is None else form.format(value)


def align(rows: list[list[str]]) -> str:
    """Columns side by side, the first to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
