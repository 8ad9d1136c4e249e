"""Small pools of pairs in which every kind of repeat is planted."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

WORDS = [f"word{i}" for i in range(900)]
Row = dict[str, Any]


def make_rows(count: int, seed: int = 0) -> list[Row]:
    """`count` pairs of their own, and repeats of about a fifth of them: in other letters, with the
    answers the other way round, with a word changed, and with one answer twice."""
    rng = random.Random(seed)

    def write(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    rows = [
        {"pair_id": f"own{i}", "prompt": write(12), "chosen": write(40), "rejected": write(40),
         "category": rng.choice("aab"), "source": rng.choice("xyz"),
         "tier": rng.choice(["gold", "silver", "candidate", None]), "votes": rng.randint(1, 3)}
        for i in range(count)
    ]  # fmt: skip
    for i in range(count // 5):
        base = rng.choice(rows[:count])
        kind = ("same", "mirror", "near", "twin", "empty")[i % 5]
        row = {**base, "pair_id": f"{kind}{i}", "tier": rng.choice(["gold", "silver", None])}
        if kind == "same":
            row["prompt"] = f"  {base['prompt'].upper()} "
        elif kind == "mirror":
            row |= {"chosen": base["rejected"], "rejected": base["chosen"]}
        elif kind == "near":
            words = base["chosen"].split()
            words[rng.randrange(len(words))] = "changed"
            row["chosen"] = " ".join(words)
        elif kind == "twin":
            row["rejected"] = base["chosen"]
        else:
            row["rejected"] = rng.choice([None, " "])
        rows.append(row)
    rng.shuffle(rows)
    return rows


def write_pool(folder: Path, files: Sequence[Sequence[Row]], group: int = 50) -> Path:
    """A folder of Parquet files with row groups of `group` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(files):
        frame = pl.DataFrame(list(rows), infer_schema_length=None, schema_overrides=SCHEMA)
        frame.write_parquet(folder / f"file{number}.parquet", row_group_size=group)
    return folder


SCHEMA = {
    "prompt": pl.String, "chosen": pl.String, "rejected": pl.String, "tier": pl.String,
    "votes": pl.Int64,
}  # fmt: skip


def read_decisions(out: Path) -> dict[str, tuple[str, str | None]]:
    """item_id -> rule, representative."""
    files = sorted((out / "decisions").glob("*.parquet"))
    frame = pl.concat([pl.read_parquet(file) for file in files]) if files else None
    if frame is None:
        return {}
    rows = frame.select("item_id", "rule", "representative").rows()
    assert len({row[0] for row in rows}) == len(rows)
    return {item: (rule, stands) for item, rule, stands in rows}
