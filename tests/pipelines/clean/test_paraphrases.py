"""Paraphrases of evaluation prompts: found by meaning, and only where something is close."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.embedder import MINILM, embed_texts
from pipelines.clean.contamination import HITS, References
from pipelines.clean.paraphrases import find_closest, find_paraphrases, rule_out
from schemas.cleaning import DecontaminateSpec
from schemas.ids import make_seed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedder")]  # loads torch and weights

THRESHOLD = DecontaminateSpec(against=["x"]).threshold
KNOWN = (
    "Anna buys 3 apples at 2 dollars each and pays with a 10 dollar note. How much change does "
    "she get?",
    "A train leaves at noon and drives 240 miles at 60 miles per hour. When does it arrive?",
)


def refer(*texts: str) -> References:
    return References(("set",) * len(texts), tuple(f"r{i}" for i in range(len(texts))), texts, ())


def find(texts: Sequence[str | None], references: References) -> dict[int, tuple[str, float]]:
    column = pl.Series("text", texts, dtype=pl.String)
    hits = find_paraphrases(column, references, embed_texts, THRESHOLD, MINILM)
    assert dict(hits.schema) == HITS
    return {h["item"]: (h["row"], h["value"]) for h in hits.iter_rows(named=True)}


def test_a_paraphrase_names_its_prompt_and_strangers_are_left_alone() -> None:
    again = (
        "Three apples cost Anna $2 apiece. If she hands over a ten-dollar bill, what change is due?"
    )
    texts = [None, "", "Write a poem about the sea.", again, "...", KNOWN[1], again]
    found = find(texts, refer(*KNOWN))
    assert {item: row for item, (row, _) in found.items()} == {3: "r0", 5: "r1", 6: "r0"}
    assert THRESHOLD <= found[3][1] < 1 and found[5][1] == pytest.approx(1, abs=1e-5)
    assert found[3] == found[6]


def test_no_texts_and_no_references_are_no_hits() -> None:
    assert find([], refer(*KNOWN)) == find(["Why?"], refer()) == find([None, "?"], refer("!")) == {}


def test_only_what_is_not_ruled_out_is_embedded() -> None:
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return embed_texts(texts)

    texts = pl.Series(["Write a poem about the sea.", KNOWN[0] + " Tell me.", KNOWN[0]])
    found = find_paraphrases(texts, refer(*KNOWN), embed, THRESHOLD, MINILM)
    assert found["item"].to_list() == [1, 2]
    assert texts[0] not in asked and asked[:2] == texts.to_list()[1:]


unit = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(unit, st.integers(0, 1_200), st.integers(0, 7))
def test_the_closest_is_that_of_the_whole_product_whatever_the_blocks(
    rng: np.random.Generator, rows: int, references: int
) -> None:
    left = rng.normal(size=(rows, 4)).astype(np.float32)
    right = rng.normal(size=(references, 4)).astype(np.float32)
    best, value = find_closest(left, right)
    assert best.shape == value.shape == (rows,)
    if references and rows:
        assert np.allclose(value, (left @ right.T).max(axis=1), atol=1e-5)
        assert np.allclose(value, (left * right[best]).sum(axis=1), atol=1e-5)
    else:
        assert (value == -1).all()


@pytest.mark.realdata
def test_gsm8k_paraphrases_are_found_at_the_default_threshold(realdata: Path) -> None:
    """On a quarter of the questions, of the half that the threshold was not chosen on: recall and
    precision of all pairs of a paraphrase and a question, the static filter included."""

    def read(name: str) -> list[dict[str, str]]:
        with gzip.open(realdata / f"{name}.jsonl.gz", "rt") as handle:
            return [json.loads(line) for line in handle]

    questions = [row["question"] for row in read("gsm8k_test")]
    texts = [row["text"] for row in read("gsm8k_rephrased")]
    places = [i for i, q in enumerate(questions) if make_seed("half", q) % 2][::2]
    known = [questions[i] for i in places]
    asked = [re.split(r"\n\s*Answer:", texts[i])[0].replace("Question:", "") for i in places]
    near = rule_out(asked, known, MINILM)
    similar = np.full((len(asked), len(known)), -1, dtype=np.float32)
    similar[near] = embed_texts([asked[i] for i in near]) @ embed_texts(known).T
    found = similar >= THRESHOLD
    right = int(np.diag(found).sum())
    assert len(places) > 300
    assert right / len(places) >= 0.95
    assert right / found.sum() >= 0.95
