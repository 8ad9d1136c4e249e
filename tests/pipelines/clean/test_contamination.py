"""Copies of evaluation prompts: every shared run of words is found, and nothing else."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.contamination import (
    EXCERPT_WORDS,
    HITS,
    References,
    find_copies,
    gather_references,
)
from pipelines.clean.evaluation_sets import EvaluationSet
from pipelines.clean.kernels.grams import split_words

ALL = {"exact": 1.0, "13gram": 0.0, "8gram": 0.0}
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def make_set(*texts: str, name: str = "set") -> EvaluationSet:
    keys = tuple(f"row{i}" for i in range(len(texts)))
    return EvaluationSet(name, f"{name}.jsonl", keys, texts, {}, name)


def refer(*texts: str) -> References:
    return gather_references([make_set(*texts)])


def find(
    texts: list[str | None], references: References, least: dict[str, float] | None = None
) -> dict[tuple[int, str], tuple[str, float]]:
    """(item, method) -> (row, value)."""
    column = pl.Series("text", texts, dtype=pl.String)
    hits = find_copies(column, references, ALL if least is None else least)
    assert dict(hits.schema) == HITS
    return {(h["item"], h["method"]): (h["row"], h["value"]) for h in hits.iter_rows(named=True)}


def list_grams(text: str, size: int) -> set[tuple[str, ...]]:
    words = split_words(pl.Series("text", [text]))[0].to_list()
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


words = st.text(string.ascii_lowercase + "é日9", min_size=1, max_size=6)
between = st.text(" \t\n,.;:!?’“—()*-", min_size=1, max_size=3)


@given(st.data())
def test_thirteen_words_in_a_row_are_found_whatever_the_case_and_what_stands_between(
    data: st.DataObject,
) -> None:
    prompt = data.draw(st.lists(words, min_size=13, max_size=30))
    start = data.draw(st.integers(0, len(prompt) - 13))
    run = prompt[start : start + 13]
    cased = [word.upper() if data.draw(st.booleans()) else word for word in run]
    text = "".join(word + data.draw(between) for word in cased)
    around = data.draw(st.lists(words, max_size=5)), data.draw(st.lists(words, max_size=5))
    whole = f"{' '.join(around[0])}\n{text}\n{' '.join(around[1])}"
    references = refer("something else altogether", " ".join(prompt))
    found = find([None, whole], references)
    row, value = found[1, "13gram"]
    ours, theirs = list_grams(whole, 13), list_grams(references.texts[1], 13)
    assert row == "row1" and value == pytest.approx(len(ours & theirs) / len(theirs))
    assert found[1, "8gram"][0] == "row1"
    assert {item for item, _ in found} == {1}


few = st.lists(st.sampled_from(["a", "b", "c", "d!", "(E)"]), max_size=24).map(" ".join)


@given(st.lists(few, max_size=5), st.lists(few, min_size=1, max_size=5))
def test_there_is_a_hit_exactly_where_a_run_of_words_is_shared(
    known: list[str], asked: list[str]
) -> None:
    references = refer(*known)
    found = find(list(asked), references)
    for item, text in enumerate(asked):
        for method, size in (("13gram", 13), ("8gram", 8)):
            grams = list_grams(text, size)
            shares = [
                len(grams & list_grams(other, size)) / len(list_grams(other, size))
                for other in references.texts
                if list_grams(other, size)
            ]
            best = max(shares, default=0.0)
            assert found.get((item, method), ("", 0.0))[1] == pytest.approx(best)
        mine = split_words(pl.Series("text", [text]))[0].to_list()
        theirs = references.split(range(len(references))).values()
        assert ((item, "exact") in found) == (mine != [] and mine in theirs)


def test_a_share_below_the_least_is_no_hit() -> None:
    half = " ".join(LONG.split()[:11])  # 4 of the 8 different runs of 8 words
    assert find([half], refer(LONG), {"8gram": 0.5}) == {(0, "8gram"): ("row0", 0.5)}
    assert find([half], refer(LONG), {"8gram": 0.51}) == {}
    assert find([half], refer(LONG), {"13gram": 0.0}) == {}


def test_texts_shorter_than_a_run_are_only_compared_whole() -> None:
    references = refer("What is a cat?", LONG)
    assert find(["what is A CAT"], references) == {(0, "exact"): ("row0", 1.0)}
    assert find(["what is a cat, really", "is a cat"], references) == {}


@pytest.mark.parametrize("text", ["", " ", "…?!", None])
def test_a_text_without_a_word_repeats_nothing(text: str | None) -> None:
    assert find([text], refer("", "…?!", "  ", LONG)) == {}


def test_operators_tell_short_sums_apart() -> None:
    references = refer("What is 2+2?")
    assert find(["What is 2-2?", "what is 2 + 2"], references) == {(1, "exact"): ("row0", 1.0)}


def test_no_texts_no_references_and_no_methods_give_no_hits() -> None:
    assert find([], refer(LONG)) == find([LONG], refer()) == find([LONG], refer(LONG), {}) == {}


def test_the_reference_that_is_repeated_most_is_named_and_the_first_of_equals() -> None:
    longer = f"{LONG} sixteen seventeen eighteen"
    found = find([LONG], refer(longer, LONG, f"{LONG}!"))
    assert found[0, "13gram"] == found[0, "8gram"] == found[0, "exact"] == ("row1", 1.0)


def test_sets_of_one_name_are_told_apart_and_a_text_is_that_of_its_first_set() -> None:
    first = make_set("Why not?", "Only here.", name="a")
    second = replace(make_set("Why not?", "And here.", name="a"), place="other.jsonl")
    references = gather_references([first, second])
    assert references.texts == ("Why not?", "Only here.", "And here.")
    assert references.sets == ("a (a.jsonl)", "a (a.jsonl)", "a (other.jsonl)")
    assert references.rows == ("row0", "row1", "row1")


def test_an_excerpt_is_where_the_words_agree_and_stays_short() -> None:
    text = pl.Series(["Hello there. " + LONG])
    hit = find_copies(text, refer(LONG), {"13gram": 0.0}).row(0, named=True)
    assert hit["excerpt"] == " ".join(LONG.split()[:EXCERPT_WORDS]) + " …"
    wide = "x" * 5_000
    assert len(find_copies(pl.Series([wide]), refer(wide), ALL)["excerpt"][0]) < 130


def test_the_result_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [LONG, None, "no", f"so {LONG}", "What is a cat?"] * 3
    references = refer(LONG, "What is a cat?")
    whole = find(texts, references)
    monkeypatch.setattr("pipelines.clean.contamination.CHUNK", 2)
    assert find(texts, references) == whole and len(whole) == 18


def test_hashes_that_collide_are_no_hit_and_hide_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hashes of which every one is found, and always in the first reference."""
    from pipelines.clean.kernels import grams

    def claim_first(texts: Any, index: Any, rows: Any) -> grams.Overlaps:
        everything = np.arange(len(texts))
        first = np.zeros(len(texts), dtype=np.int32)
        return grams.Overlaps(everything, first, first + index.counts[0])

    monkeypatch.setattr(grams, "find_overlaps", claim_first)
    other = LONG.replace("seven", "7")
    found = find([other, "a b c", LONG], refer(LONG, other), {"13gram": 0.0})
    assert found == {(0, "13gram"): ("row1", 1.0), (2, "13gram"): ("row0", 1.0)}


def test_awkward_texts_are_searched_like_any() -> None:
    """NUL, right to left, no spaces between words, five megabytes, ten thousand copies."""
    hebrew = " ".join(["שלום עולם מה שלומך היום אני בסדר גמור תודה רבה לך ידידי היקר"] * 2)
    chinese = "小明有五个苹果他又买了三个请问他现在一共有几个苹果"
    huge = "word " * 1_000_000 + LONG
    texts = [f"\0{LONG}\0", f"x {hebrew}", f"题目 {chinese}。", huge, *[LONG] * 10_000]
    references = refer(LONG, hebrew, chinese)
    found = find(list(texts), references, {"13gram": 0.0})
    assert [found[i, "13gram"][0] for i in range(4)] == ["row0", "row1", "row2", "row0"]
    assert len(found) == len(texts)
