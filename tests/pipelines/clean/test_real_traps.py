"""What is known to be wrong with the real pools is found and counted by what cleans a pool.

Left to the tests that hold them already: contexts that differ, empty responses, booleans in the
place of text and judges' garbage (`lake/test_real_pools.py`); that PandaLM's people agree, and how
often its judges are right (`annotators/test_reliability.py`, `annotators/people/test_alpha.py`);
which of its rows are unanimous (`label/people/test_pandalm_replay.py`); FineGrained's verdicts and
that they have no cycle (`lake/test_real_pools.py`, `annotators/ranking/test_cycles.py`); how good
refusals are found (`rules/test_refusal_points.py`).
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from annotators.agreement import compare_annotators
from annotators.votes import LABELS
from pipelines.clean.bias import audit_pairs, find_broken_bounds, measure_differences
from pipelines.clean.bulk.pool import FAULTS, read_texts
from pipelines.clean.contamination import find_copies, gather_references
from pipelines.clean.dedup import find_duplicates
from pipelines.clean.evaluation_sets import read_evaluation_set
from pipelines.clean.filters import find_repeats
from pipelines.clean.kernels.grams import key_texts, part_words
from pipelines.clean.logistic import predict_out_of_fold
from pipelines.lake.layouts import read_verdict
from pipelines.lake.parts import ASSISTANT, HUMAN
from schemas.cleaning import BiasSpec

pytestmark = pytest.mark.realdata
HH = {"hh_harmless_base_test": "harmless", "hh_helpful_test": "helpful"}
CLASSES = dict(zip("123", LABELS, strict=True))  # complied, refused, refused in part
WORDS = 1000  # the most frequent ones, of the bag of words


@cache
def read_lines(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def read_hh(folder: Path, name: str) -> pl.DataFrame:
    """prompt, chosen, rejected, fault, and first: what was asked first."""
    rows = pl.DataFrame(read_lines(folder / f"{name}.jsonl.gz")).select("chosen", "rejected")
    first = pl.col("chosen").str.strip_prefix(HUMAN).str.split(ASSISTANT).list.first()
    return read_texts(rows.with_columns(first=first.str.strip_chars()))


def hash_words(texts: pl.Series) -> list[tuple[int, int]]:
    """What texts say, whatever their case and punctuation."""
    return list(map(tuple, key_texts(part_words(texts.cast(pl.String)))[0].tolist()))


def measure_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """chosen, rejected and what the audit wants."""
    number = pl.int_range(pl.len()).cast(pl.String)
    if "position" not in pairs.columns:
        pairs = pairs.with_columns(position=pl.lit(None, pl.Float64))
    return measure_differences(
        pairs.with_columns(
            pl.col("chosen", "rejected").fill_null(""), pair_id=number,
            prompt_id=pl.col("prompt"), category=pl.lit("all"), source=pl.lit("all"),
        )
    )  # fmt: skip


def test_every_row_of_hh_that_cannot_be_used_is_told(realdata: Path) -> None:
    found = {
        side: Counter(FAULTS[code] for code in read_hh(realdata, name)["fault"])
        for name, side in HH.items()
    }
    assert found == {
        "harmless": {"": 2303, "no chosen response": 4, "contexts differ": 5},
        "helpful": {"": 2339, "no rejected response": 4, "contexts differ": 9},
    }


def test_three_contexts_of_harmless_repeat_another(realdata: Path) -> None:
    contexts = hash_words(read_hh(realdata, "hh_harmless_base_test")["prompt"])
    assert len(contexts) - len(set(contexts)) == 3


def test_near_duplicate_first_turns_across_both_files_of_hh(realdata: Path) -> None:
    first = pl.concat(
        read_hh(realdata, name).select("first", file=pl.lit(side)) for name, side in HH.items()
    )
    prompts = first.select(
        prompt_id=pl.format("{}{}", "file", pl.int_range(pl.len())),
        messages=pl.concat_list(pl.struct(role=pl.lit("user"), content="first")),
        verifier=pl.lit(None, pl.String),
    )
    found = find_duplicates(prompts, 0.7)
    pairs = {(row["item_id"], row["representative"]) for row in found}
    assert len(pairs) == len(found) >= 367
    assert Counter(row["rule"] for row in found) == {"exact_duplicate": 283, "near_duplicate": 138}
    across = sum(one[:4] != other[:4] for one, other in pairs)
    assert across >= 1, "a first turn of one file is close to one of the other"


def test_fourteen_pairs_of_pandalm_compare_a_text_with_itself(realdata: Path) -> None:
    """Four of them hold a boolean, which the import quarantines."""
    rows = read_lines(realdata / "pandalm_999x3.jsonl.gz")
    sides = [[str(row[f"response{side}"]) for row in rows] for side in (1, 2)]
    number = [f"{i:03}" for i in range(len(rows))]
    labels = pl.DataFrame({"pair_id": number, "prompt_id": number}).with_columns(
        chosen_id=pl.format("{}c", "pair_id"), rejected_id=pl.format("{}r", "pair_id")
    )
    prompts = pl.DataFrame({
        "prompt_id": number, "verifier": pl.Series([None] * len(rows), dtype=pl.String),
        "messages": [[{"role": "user", "content": row["instruction"]}] for row in rows],
    })  # fmt: skip
    ids = pl.concat([labels["chosen_id"], labels["rejected_id"]]).rename("response_id")
    rollouts = ids.to_frame().with_columns(content=pl.Series([*sides[0], *sides[1]]))
    found = {row["item_id"]: row["rule"] for row in find_repeats(labels, prompts, rollouts)}
    same = [i for i, rule in found.items()
            if rule in ("identical_responses", "differs_in_punctuation")]  # fmt: skip
    assert len(same) == 14 and "identical_responses" not in found.values()
    odd = [
        i for i in same if not all(isinstance(rows[int(i)][f"response{s}"], str) for s in (1, 2))
    ]
    assert len(odd) == 4


@pytest.mark.parametrize(
    ("name", "wins"), [(n, w) for n, w in zip(HH, (0.442, 0.596), strict=True)]
)
def test_how_often_the_longer_response_wins(realdata: Path, name: str, wins: float) -> None:
    length = measure_pairs(read_hh(realdata, name))["length"]
    assert (length > 0).mean() == pytest.approx(wins, abs=6e-4)


@pytest.mark.parametrize("name", HH)
def test_a_bag_of_words_knows_little_of_hh(realdata: Path, name: str) -> None:
    pairs = measure_pairs(read_hh(realdata, name))
    bags = [[Counter(re.findall(r"\w+", text.lower())) for text in pairs[side]]
            for side in ("chosen", "rejected")]  # fmt: skip
    seen: Counter[str] = Counter(word for side in bags for bag in side for word in bag)
    places = {word: place for place, (word, _) in enumerate(seen.most_common(WORDS))}
    differences = np.zeros((len(pairs), WORDS))
    for sign, side in zip((1, -1), bags, strict=True):
        for row, bag in enumerate(side):
            for word in bag.keys() & places.keys():
                differences[row, places[word]] += sign
    p = predict_out_of_fold(differences, pairs["prompt_id"].to_list(), 0, ridge=300.0)
    known = {"hh_harmless_base_test": 0.600, "hh_helpful_test": 0.595}
    assert (p > 0.5).mean() == pytest.approx(known[name], abs=0.015)


def test_two_people_and_two_machines_on_xstest(realdata: Path) -> None:
    rows = read_lines(realdata / "xstest_5models_2annotators.jsonl.gz")
    votes = pl.DataFrame(
        {"item": f"{row['model']}:{row['id']}", "annotator": who, "label": CLASSES[label[0]]}
        for row in rows
        for who, label in (
            ("person 1", row["annotation_1"]),
            ("person 2", row["annotation_2"]),
            ("truth", row["final_label"]),
            ("gpteval", row["auto_gpteval"]["gpt4_label"]),
            ("streval", row["auto_streval"]["strmatch_label"]),
        )
        if label and label[0] in CLASSES
    )
    found = {tuple(sorted((one, other))): (n * agreement) / len(rows)
             for one, other, n, agreement, *_ in compare_annotators(votes).iter_rows()}  # fmt: skip
    assert found["person 1", "person 2"] == pytest.approx(0.964, abs=5e-4)
    assert found["gpteval", "truth"] == pytest.approx(0.799, abs=5e-4)
    assert found["streval", "truth"] == pytest.approx(0.839, abs=5e-4)


@cache
def read_alpaca(folder: Path) -> pl.DataFrame:
    """prompt, position, chosen, rejected of the preferences of `alpaca_eval_gpt4` that are one."""
    outputs = pl.read_parquet(folder / "alpaca_eval_outputs.parquet").select(
        "instruction", "generator", "output"
    ).unique(["instruction", "generator"], keep="first", maintain_order=True)  # fmt: skip
    said = pl.read_parquet(folder / "alpaca_eval_preferences.parquet").filter(
        pl.col("annotator") == "alpaca_eval_gpt4", pl.col("preference").is_in([1.0, 2.0])
    )
    for side in (1, 2):
        named = outputs.rename({"generator": f"generator_{side}", "output": f"output_{side}"})
        said = said.join(named, on=["instruction", f"generator_{side}"], how="left")
    first = pl.col("preference") == 1
    return said.select(
        prompt="instruction",
        position=pl.when(first).then(1.0).otherwise(-1.0),
        chosen=pl.when(first).then("output_1").otherwise("output_2"),
        rejected=pl.when(first).then("output_2").otherwise("output_1"),
    )


def test_what_predicts_the_labels_of_alpaca_eval(realdata: Path) -> None:
    pairs = measure_pairs(read_alpaca(realdata))
    assert pairs["prompt"].n_unique() == 805
    audit = {row["shortcut"]: row for row in audit_pairs(pairs, 0).to_dicts()}
    assert audit["length"]["toward"] == pytest.approx(0.81, abs=5e-3), "the longer one wins"
    assert audit["position"]["toward"] == pytest.approx(0.21, abs=5e-3), "the second one wins"
    bounds = BiasSpec(length=0.55, position=0.55)
    assert len(find_broken_bounds(audit_pairs(pairs.head(2000), 0), bounds)) == 2


def test_preferences_of_alpaca_eval_that_are_missing_are_no_opinions(realdata: Path) -> None:
    said = pl.read_parquet(realdata / "alpaca_eval_preferences.parquet", columns=["preference"])
    missing = [read_verdict(value, "", "llm") for value in said["preference"].unique()]
    assert said["preference"].null_count() == 59
    assert [(one.p_first, one.valid) for one in missing if one.raw == "null"] == [(None, False)]


def test_prompts_of_alpaca_eval_are_in_other_pools(realdata: Path) -> None:
    """One prompt of PandaLM lacks its input, and one has no words but of its input."""
    sets = [read_evaluation_set(str(realdata / "alpaca_eval_outputs.parquet"))]
    references = gather_references(sets)
    assert len(references) == 805

    def count(texts: list[str], *methods: str) -> int:
        least = {"exact": 1.0, "13gram": 0.9}
        hits = find_copies(pl.Series(texts), references, {m: least[m] for m in methods})
        return hits["item"].n_unique()

    rows = read_lines(realdata / "pandalm_999x3.jsonl.gz")
    pandalm = sorted({f"{row['instruction']}\n\n{row['input']}" for row in rows})
    assert len(pandalm) == 170
    assert (count(pandalm, "exact"), count(pandalm, "exact", "13gram")) == (168, 169)
    rows = read_lines(realdata / "self_instruct_252_text_davinci_003.jsonl.gz")
    assert count([f"{row['instruction']}\n\n{row['input']}" for row in rows], "exact") == 252
    first = read_hh(realdata, "hh_helpful_test")["first"]
    assert (count(first.to_list(), "exact"), count(first.unique().to_list(), "exact")) == (135, 129)
