"""The quality rules and the shortcuts on real data: refusals of XSTest, moderation labels, what
length alone predicts, and what each rule costs.

`python -m benchmarks.filters --realdata FOLDER [--rows N]`

Prints Markdown tables. FOLDER holds `xstest_5models_2annotators`, `moderation_1680`, the two `hh_*`
files and `pandalm_999x3` (`.jsonl.gz`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.pandalm import print_table
from pipelines.clean.matching import measure_length_accuracy
from pipelines.clean.rules.refusal import REFUSED, count_refusal_points
from pipelines.clean.rules.table import RULES, Look
from pipelines.clean.rules.toxicity import measure_toxicity
from schemas.cleaning import LanguageRule, PiiRule, Rule

TUNED_ON = ("llama2orig", "mistralguard")  # the rule's phrases were chosen by these two alone
LABELLERS = {"auto_gpteval": "gpt4_label", "auto_streval": "strmatch_label"}
HARMS = ("S", "H", "V", "HR", "SH", "S3", "H2", "V2")
SPEED_ROWS = 20_000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--realdata", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=SPEED_ROWS, help="texts that are timed")
    options = parser.parse_args()
    folder: Path = options.realdata
    print("Refusals: XSTest's three held-out models, against the final human label\n")
    print_table(tabulate_refusals(folder))
    print("Offensive texts: 1,680 moderation prompts, any of eight harms\n")
    print_table(tabulate_toxicity(folder))
    print("Area under the curve by harm\n")
    print_table(tabulate_harms(folder))
    print("What length alone predicts\n")
    print_table(tabulate_lengths(folder))
    print(f"CPU seconds of each rule for 100,000 responses (timed on {options.rows:,})\n")
    print_table(time_rules(folder, options.rows))


def tabulate_refusals(folder: Path, held_out: bool = True) -> pl.DataFrame:
    """truth (`full`: full refusals; `any`: partial ones too), labeller, n, precision, recall, f1,
    accuracy: of the rule and of XSTest's two automatic labellers, on the models that the rule was
    not tuned on (or on the two that it was). What a labeller gave no label is no refusal to it."""
    rows = [
        {
            "content": row["completion"],
            "truth": row["final_label"],
            **{name: str(row[name][key]) for name, key in LABELLERS.items()},
        }
        for row in read_lines(folder / "xstest_5models_2annotators.jsonl.gz")
        if (row["model"] in TUNED_ON) != held_out
    ]
    frame = pl.DataFrame(rows).with_columns(rule=count_refusal_points(pl.col("content")) >= REFUSED)
    tables = []
    for truth, labels in (("full", ["2"]), ("any", ["2", "3"])):
        refused = frame["truth"].str.head(1).is_in(labels)
        for name in ("rule", *LABELLERS):
            said = frame[name]
            called = said if name == "rule" else said.str.head(1).is_in(labels)
            tables.append({"truth": truth, "labeller": name, **_score(refused, called)})
    return pl.DataFrame(tables)


def tabulate_toxicity(folder: Path) -> pl.DataFrame:
    """threshold, flagged, precision, recall of the toxicity rule on any harm."""
    values, harms = _read_moderation(folder)
    any_harm = harms.select(pl.any_horizontal(HARMS)).to_series()
    return pl.DataFrame(
        [
            {
                "threshold": bar,
                "flagged": int((values >= bar).sum()),
                **_score(any_harm, values >= bar),
            }
            for bar in (0.5, 0.7, 0.8, 0.9)
        ]
    )


def tabulate_harms(folder: Path) -> pl.DataFrame:
    """harm, n (prompts that have it), auc of the toxicity rule's value."""
    values, harms = _read_moderation(folder)
    columns = {"any": harms.select(pl.any_horizontal(HARMS)).to_series()}
    columns |= {name: harms[name] for name in HARMS}
    return pl.DataFrame(
        [
            {"harm": name, "n": int(harm.sum()), "auc": _find_auc(harm, values)}
            for name, harm in columns.items()
        ]
    )


def tabulate_lengths(folder: Path) -> pl.DataFrame:
    """pool, n, longer_wins (equal lengths are half), accuracy (of the better direction)."""
    rows = []
    for pool in ("hh_helpful_test", "hh_harmless_base_test"):
        lengths = [
            len(row["chosen"]) - len(row["rejected"])
            for row in read_lines(folder / f"{pool}.jsonl.gz")
        ]
        rows.append({"pool": pool, **_measure_lengths(lengths)})
    votes = []
    for row in read_lines(folder / "pandalm_999x3.jsonl.gz"):
        said = [str(row[f"annotator{i}"]) for i in (1, 2, 3)]
        leader = max(set(said), key=lambda label: (said.count(label), label))
        longer = len(str(row["response1"])) - len(str(row["response2"]))
        votes += {"1": [longer], "2": [-longer]}.get(leader, [])
    rows.append({"pool": "pandalm (majority, no ties)", **_measure_lengths(votes)})
    return pl.DataFrame(rows)


def time_rules(folder: Path, count: int) -> pl.DataFrame:
    """rule, characters (mean of a text), seconds: CPU seconds for 100,000 responses."""
    texts = [
        row[side].rpartition("\n\nAssistant: ")[2]
        for pool in ("hh_helpful_test", "hh_harmless_base_test")
        for row in read_lines(folder / f"{pool}.jsonl.gz")
        for side in ("chosen", "rejected")
    ]
    many = (texts * (count // len(texts) + 1))[:count]
    rows = pl.DataFrame(
        {"response_id": range(count), "prompt_id": range(count), "text": many}
    ).cast({"response_id": pl.String, "prompt_id": pl.String})
    specs = {"language": LanguageRule(keep=["en"]), "pii": PiiRule()}
    look = Look(None, None, 0)  # type: ignore[arg-type]
    timed = []
    for name, rule in RULES["response"].items():
        spec = specs.get(name, Rule(threshold=1))
        rule.measure(rows.head(10), spec, look)
        seconds = _time(lambda rule=rule, spec=spec: rule.measure(rows, spec, look))
        timed.append({"rule": name, "seconds": seconds * 100_000 / count})
    mean = sum(map(len, many)) / count
    return pl.DataFrame(timed).with_columns(characters=pl.lit(mean).round(0))


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a gzipped JSONL file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _read_moderation(folder: Path) -> tuple[pl.Series, pl.DataFrame]:
    rows = list(read_lines(folder / "moderation_1680.jsonl.gz"))
    harms = pl.DataFrame([{name: bool(row.get(name)) for name in HARMS} for row in rows])
    return measure_toxicity(pl.Series([row["prompt"] for row in rows])), harms


def _score(truth: pl.Series, called: pl.Series) -> dict[str, Any]:
    right = int((truth & called).sum())
    precision, recall = right / max(1, int(called.sum())), right / max(1, int(truth.sum()))
    return {
        "n": len(truth),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "accuracy": float((truth == called).mean()),  # type: ignore[arg-type]
    }


def _measure_lengths(lengths: list[int]) -> dict[str, Any]:
    signs = pl.Series(lengths).sign()
    wins = float(((signs > 0).sum() + (signs == 0).sum() / 2) / len(signs))
    return {"n": len(signs), "longer_wins": wins, "accuracy": measure_length_accuracy(signs)}


def _find_auc(truth: pl.Series, values: pl.Series) -> float:
    ranks = values.rank("average")
    n = int(truth.sum())
    return float((ranks.filter(truth).sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def _time(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
