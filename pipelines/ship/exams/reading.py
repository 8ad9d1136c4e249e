"""The items of an outside exam, read from the files that somebody has of a public benchmark."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pipelines.clean.evaluation_sets import (
    LAYOUTS,
    detect_layout,
    list_files,
    name_place,
    open_files,
)
from pipelines.lake.readers import HUB, BadRow
from pipelines.ship.exams.items import ExamSet, Item
from pipelines.ship.exams.layouts import READERS
from schemas.errors import AssayError
from schemas.ids import make_fingerprint, make_id

NEVER_A_GATE = ("RewardBench",)
"""Solved, and in many training sets: it says little of a release."""


class ExamUnusable(AssayError):
    """A file that is no exam; the message names the file, the row, the key and the mend."""


def read_exam_set(path: str, base: Path | None = None) -> ExamSet:
    """Read the items of a public benchmark: RewardBench 1 and 2, RM-Bench, JudgeBench, RMB, PPE or
    LLMBar, or of a set of steps, known by their columns.

    A row that asks nothing (no right side, a text that is empty, a repetition of an earlier row) is
    counted with its reason and is no wrong answer.

    Args:
        path: a Parquet, JSONL, JSON or CSV file (also `.gz`), a folder of such files or one that
            `save_to_disk` wrote, or `hub:ORG/NAME`.
        base: what a relative path is relative to; the working directory if not given.

    Raises:
        ExamUnusable: its layout is none of these, files of several sets are mixed, or no row of it
            can be used.
        pipelines.clean.evaluation_sets.EvaluationSetUnusable: it is missing or cannot be read.
    """
    place = path if path.startswith(HUB) else str((base or Path()) / path)
    if not place.startswith(HUB):
        list_files(Path(place))
    whole = name_place(place).rsplit("/", 1)[-1]
    names: dict[str, str] = {}
    unscored: Counter[str] = Counter()
    first_bad = ""
    items: list[Item] = []
    seen: set[str] = set()
    for prefix, rows in open_files(place):
        file = prefix.removesuffix(":") or whole
        layout = None
        for number, row in rows:
            if isinstance(row, BadRow):
                unscored[row.reason] += 1
                first_bad = first_bad or f"row {number}: {row.reason}"
                continue
            if layout is None:
                layout = detect_layout(row, place)
                if layout.name not in READERS:
                    raise ExamUnusable(_say_unknown(place, prefix, number, list(row), layout.name))
                names.setdefault(layout.name, prefix or place)
            key = row.get(layout.key) if layout.key else None
            name = str(number) if key is None else str(key)
            try:
                item = READERS[layout.name](row, name, file)
            except ValueError as error:
                unscored[str(error)] += 1
                first_bad = first_bad or f"{prefix}row {number} ({name}): {error}"
                continue
            content = _hash_item(item)
            if content in seen:
                unscored["an earlier row asks the same"] += 1
                continue
            seen.add(content)
            items.append(item)
    if len(names) > 1:
        mixed = ", ".join(f"{name} ({where.removesuffix(':')})" for name, where in names.items())
        raise ExamUnusable(f"{place}: files of several sets: {mixed}; give each set by itself")
    if not items:
        raise ExamUnusable(
            f"{place}: no row of it can be scored; {first_bad or 'it is empty'}; mend the column "
            "or give another file"
        )
    return ExamSet(
        name=next(iter(names)),
        place=place,
        items=tuple(items),
        unscored=dict(sorted(unscored.items())),
        content_hash=make_fingerprint(sorted(seen)),
    )


def _hash_item(item: Item) -> str:
    chains = [[list(part) for part in (c.steps, c.labels, c.judged)] + [c.answer]
              for c in item.chains]  # fmt: skip
    return make_id(
        "exam item", [dict(m) for m in item.prompt], list(item.responses), list(item.right),
        item.category, item.subset, item.kind, [list(p) for p in item.pairs], item.question,
        item.part, *([chains] if chains else []),
    )  # fmt: skip


def _say_unknown(place: str, prefix: str, number: int, columns: list[str], found: str) -> str:
    wanted = "; ".join(
        f"{layout.name}: {', '.join((layout.prompt, *layout.others))}"
        for layout in LAYOUTS
        if layout.name in READERS
    )
    what = f"the layout of {found}, which has no wrong answers" if found else "no known layout"
    return (
        f"{place}: {prefix}row {number} has {what} (columns {', '.join(columns[:12])}); rename "
        f"its columns to those of one of {wanted}"
    )
