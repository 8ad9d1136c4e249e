"""What a version's card says of the gold loop that read its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def describe_loop(loop: Mapping[str, Any] | None) -> str:
    """The section of the card; empty for a version of another policy.

    Args:
        loop: of `pipelines.label.loop.measuring.measure_loop`.
    """
    if not loop:
        return ""
    parts = [
        "## How right the read labels are",
        "Estimated from gold that teaches and was held out for it, so that errors which the voices "
        "share are counted; checked on gold of the test split, which had no part in it.",
        _tabulate(loop["precision"], loop["exam"]),
        loop["unknown"] or "",
        describe_check(loop),
        describe_flips(loop["flips"]),
        *((loop["reading"] or {}).get("jury") or {}).get("sentences", []),
        *(loop["reading"] or {}).get("notices", []),
    ]
    return "\n\n".join(part for part in parts if part)


def tell_loop(loop: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The same for the report: each row of `precision` with the `check` on exam gold,
    `said_of_exam` where there is no such row, and `said_of_flips`; None for a version of another
    policy."""
    if not loop:
        return None
    checks = {row["category"]: row for row in loop["exam"]}
    rows = [{**row, "check": checks.get(row["category"])} for row in loop["precision"]]
    told = {"said_of_exam": describe_check(loop), "said_of_flips": describe_flips(loop["flips"])}
    return {**loop, "precision": rows, **told}


def describe_check(loop: Mapping[str, Any]) -> str:
    """How right the labels are on exam gold, where no precision stands beside it."""
    if loop["precision"] or not loop["exam"]:
        return ""
    row = loop["exam"][0]
    return (
        f"Of {row['n']} exam gold pairs that would be kept {row['right']:.1%} get the right label "
        f"(95 %: {row['low']:.1%} to {row['high']:.1%})."
    )


def describe_flips(flips: Mapping[str, Any]) -> str:
    """How right the labels were that were turned round, as people say."""
    if not flips["asked"]:
        return ""
    if not flips["answered"]:
        return (
            f"People are asked about {flips['asked']} of the labels that were turned round; nobody "
            "has answered yet."
        )
    return (
        f"Of the labels that were turned round people were asked about {flips['asked']} and "
        f"answered {flips['answered']}: {flips['right']:.1%} were right (95 %: "
        f"{flips['low']:.1%} to {flips['high']:.1%})."
    )


def _tabulate(precision: Sequence[Mapping[str, Any]], exam: Sequence[Mapping[str, Any]]) -> str:
    if not precision:
        return ""
    checks = {row["category"]: row for row in exam}
    lines = [
        "| category | pairs | gold | estimated right | 95 % | right on exam gold | 95 % | n |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in precision:
        name, check = row["category"], checks.get(row["category"])
        checked = [_share(check["right"]), _span(check), str(check["n"])] if check else ["–"] * 3
        cells = [name or "all", f"{row['n']:,}", str(row["n_gold"]), _share(row["precision"]),
                 _span(row), *checked]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _span(row: Mapping[str, Any]) -> str:
    return "–" if row["low"] is None else f"{row['low']:.1%} to {row['high']:.1%}"
