"""Decontamination: what each method finds of real paraphrases, and what the compiled pass costs.

`python -m benchmarks.decontamination [--realdata FOLDER] [--rows 1000000] [--prompts 30000]`

1. GSM8K's test questions against paraphrases of them, and MATH questions against rewritten ones:
   recall and precision of each method. A paraphrase of which the right question is named is found;
   any other pair of a paraphrase and a question at or above the threshold is a false one, so the
   negatives are the other questions of the same set. The threshold is the one of the highest F1 on
   the first half of GSM8K (by hash of the question); the other half and MATH never see it chosen.
   Also how many prompts of other kinds, which nobody paraphrased, are (falsely) called hits.
2. Which of a million invented rows share 13 words in a row with 30,000 prompts, by
   `benchmarks.decontamination_tools`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.decontamination_tools import compare
from benchmarks.near_duplicates import describe_machine
from schemas.ids import make_seed

ROOT = Path(__file__).parents[1]
LEAST_ROWS = 100_000
THRESHOLDS = np.round(np.arange(0.60, 0.951, 0.01), 2)
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Rewrites:
    """Questions, each with the same in other words: `rewritten[i]` is of `questions[i]`."""

    name: str
    questions: list[str]
    rewritten: list[str]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--realdata", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--prompts", type=int, default=30_000)
    parser.add_argument("--math", type=int, default=7_500, help="how many MATH rewrites")
    given = parser.parse_args()
    if 0 < given.rows < LEAST_ROWS:
        parser.error(
            f"--rows is 0 (no second table) or at least {LEAST_ROWS}: a share is scaled up"
        )
    print(describe_machine())
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, float_precision=4):
        if given.realdata.is_dir() and given.math:
            report_rewrites(given.realdata, given.math)
        else:
            print(f"no real data at {given.realdata}: the first table is left out")
        if given.rows:
            print(compare(given.rows, given.prompts))


def report_rewrites(folder: Path, count: int) -> None:
    """The first table."""
    gsm, math = read_gsm8k(folder), read_math(folder, count)
    vectors = {r.name: embed_rewrites(r) for r in (gsm, math)}
    first = split_half(gsm.questions)
    threshold = choose_threshold(*vectors["GSM8K"], first)
    print(f"threshold chosen on the first half of GSM8K: {threshold:.2f}\n")
    rows = []
    whole = np.ones(len(math.questions), dtype=np.bool_)
    parts = {"GSM8K, first half": (gsm, first), "GSM8K, other half": (gsm, ~first)}
    for name, (part, half) in {**parts, "MATH": (math, whole)}.items():
        rows += [{"set": name, **row} for row in score_copies(part, half)]
        scored = score_semantic(*vectors[part.name], half, threshold)
        rows.append({"set": name, "method": f"semantic {threshold:.2f}", **scored})
        passed = score_static(part, half, vectors[part.name], threshold)
        rows.append({"set": name, "method": "semantic, static filter first", **passed})
    print(pl.DataFrame(rows))
    print(score_strangers(folder, gsm, vectors["GSM8K"][0], threshold))


def read_gsm8k(folder: Path) -> Rewrites:
    """The 1,319 test questions and their paraphrases (without the answers that follow them)."""
    questions = [row["question"] for row in read_lines(folder / "gsm8k_test.jsonl.gz")]
    texts = [row["text"] for row in read_lines(folder / "gsm8k_rephrased.jsonl.gz")]
    found = [re.match(r"(?s)\s*Question:\s*(.*?)\s*\n\s*Answer:", text) for text in texts]
    return Rewrites(
        "GSM8K", questions, [m.group(1) if m else t for m, t in zip(found, texts, strict=True)]
    )


def read_math(folder: Path, count: int) -> Rewrites:
    """The first `count` of 7,500 MATH questions and their rewrites."""
    frame = pl.read_parquet(folder / "math_train_rewrites.parquet").head(count)
    return Rewrites(
        "MATH", *(frame[f"{name}_question"].to_list() for name in ("original", "rephrased"))
    )


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a zipped JSONL file."""
    with gzip.open(file, "rt") as handle:
        return [json.loads(line) for line in handle]


def embed_rewrites(part: Rewrites) -> tuple[Vectors, Vectors]:
    """Vectors of the questions and of what was made of them."""
    from engines.embedder import embed_texts

    return embed_texts(part.questions), embed_texts(part.rewritten)


def split_half(questions: Sequence[str]) -> NDArray[np.bool_]:
    """Which questions are of the first half."""
    return np.array([make_seed("half", question) % 2 == 0 for question in questions])


def choose_threshold(questions: Vectors, rewritten: Vectors, half: NDArray[np.bool_]) -> float:
    """The threshold of the highest F1 among the pairs of that half."""
    scores = [score_semantic(questions, rewritten, half, t) for t in THRESHOLDS]
    f1 = [2 * s["precision"] * s["recall"] / (s["precision"] + s["recall"]) for s in scores]
    return float(THRESHOLDS[int(np.argmax(f1))])


def score_semantic(
    questions: Vectors, rewritten: Vectors, half: NDArray[np.bool_], threshold: float
) -> dict[str, float]:
    """Recall and precision of all pairs of that half, and the share of rewrites whose closest other
    question passes the threshold."""
    similar = rewritten[half] @ questions[half].T
    own = np.diag(similar).copy()
    np.fill_diagonal(similar, -1)
    return rate(
        own >= threshold, int((similar >= threshold).sum()), (similar.max(1) >= threshold).mean()
    )


def rate(found: NDArray[np.bool_], false: int, strangers: float) -> dict[str, float]:
    """The columns of the first table."""
    right = int(found.sum())
    return {
        "n": len(found),
        "recall": float(found.mean()),
        "precision": right / (right + false) if right + false else float("nan"),
        "false share of questions": float(strangers),
    }


def score_copies(part: Rewrites, half: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    """What the comparison of words finds of the rewrites."""
    from pipelines.clean.contamination import References, find_copies

    places = np.flatnonzero(half)
    names = tuple(str(i) for i in range(len(places)))
    known = References(
        (part.name,) * len(places), names, tuple(part.questions[i] for i in places), ()
    )
    texts = pl.Series([part.rewritten[i] for i in places])
    hits = find_copies(texts, known, {"exact": 1.0, "13gram": 0.0, "8gram": 0.5})
    for method in ("exact", "13gram", "8gram"):
        mine = hits.filter(pl.col("method") == method)
        right = mine.filter(pl.col("row") == pl.col("item").cast(pl.String))["item"].to_numpy()
        found = np.isin(np.arange(len(places)), right)
        wrong = len(mine) - len(right)
        yield {"method": method, **rate(found, wrong, wrong / len(places))}


def score_static(
    part: Rewrites, half: NDArray[np.bool_], vectors: tuple[Vectors, Vectors], threshold: float
) -> dict[str, float]:
    """The same where the static filter has ruled out first: what the product does."""
    from engines.embedder import MINILM
    from pipelines.clean.paraphrases import rule_out

    places = np.flatnonzero(half)
    questions = [part.questions[i] for i in places]
    near = rule_out([part.rewritten[i] for i in places], questions, MINILM)
    similar = vectors[1][half] @ vectors[0][half].T
    similar[np.setdiff1d(np.arange(len(places)), near)] = -1
    own = np.diag(similar).copy()
    np.fill_diagonal(similar, -1)
    return rate(
        own >= threshold, int((similar >= threshold).sum()), (similar.max(1) >= threshold).mean()
    )


def score_strangers(
    folder: Path, part: Rewrites, questions: Vectors, threshold: float
) -> pl.DataFrame:
    """Of prompts of other kinds: how many pass the static filter, and how many are called hits."""
    from engines.embedder import MINILM, embed_texts
    from pipelines.clean.paraphrases import find_closest, rule_out

    helpful = [row["chosen"] for row in read_lines(folder / "hh_helpful_test.jsonl.gz")]
    turns = [t.split("\n\nAssistant:")[0].removeprefix("\n\nHuman:").strip() for t in helpful]
    alpaca = pl.read_parquet(folder / "alpaca_eval_outputs.parquet")["instruction"]
    pools = {
        "hh helpful, first turns": turns,
        "AlpacaEval": alpaca.unique(maintain_order=True).to_list(),
    }
    rows = []
    for name, texts in pools.items():
        near = rule_out(texts, part.questions, MINILM)
        _, value = find_closest(embed_texts([texts[i] for i in near]), questions)
        rows.append({
            "prompts": name, "n": len(texts), "embedded": len(near) / len(texts),
            "hits": int((value >= threshold).sum()),
        })  # fmt: skip
    return pl.DataFrame(rows)


if __name__ == "__main__":
    main()
