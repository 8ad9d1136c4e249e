"""Shared runs of words: as counted the slow way, whatever stands between the words."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.kernels.grams import (
    count_known,
    find_overlaps,
    index_grams,
    key_texts,
    part_words,
    split_words,
)

ODD = [
    "", " ", "...", "a-b", "a\0b", "don\u2019t", "“Quote” – dash", "x_y", "é e\u0301 É", "İI\u0131",
    "日本語のテキスト", "ไทย", "a日b", "𠀀x", "😀 a 👩‍👩‍👧 b", "क्षि क्षि", "²", "½", "ﬁ", "Σας ΣΑΣ",
    "a" * 200, "\U0010ffff", "مرحبا بالعالم", "\u200bx", "1,000.5", "\u00adsoft",
]  # fmt: skip
pieces = st.sampled_from([*"abAB", "cd", "日", "é", "e\u0301", "’", ",", " ", "  ", "\n", "—", "1"])
texts = st.one_of(st.text(), st.lists(pieces, max_size=60).map("".join), st.sampled_from(ODD))


def column(given: list[str] | list[str | None]) -> pl.Series:
    return pl.Series("text", given, dtype=pl.String)


def read_back(given: list[str]) -> list[list[str]]:
    """The words that the kernels see: what white space parts."""
    parted = part_words(column(given))
    spans = zip(parted.starts, parted.ends, strict=True)
    return [parted.data[a:b].tobytes().decode().lower().split() for a, b in spans]


def list_grams(words: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


@given(st.lists(texts, max_size=8))
def test_the_kernels_part_words_as_the_reference_does(drawn: list[str]) -> None:
    assert read_back(drawn) == [[w.lower() for w in words] for words in split_words(column(drawn))]


@pytest.mark.parametrize("text", ODD)
def test_each_awkward_text_alone(text: str) -> None:
    assert read_back([text]) == [[word.lower() for word in split_words(column([text]))[0]]]
    assert key_texts(part_words(column([text])))[1].tolist() == [
        len(split_words(column([text]))[0])
    ]


def test_a_character_of_a_script_without_spaces_is_a_word() -> None:
    words = split_words(column(["ab日本 c"]))[0].to_list()
    assert words == ["ab", "日", "本", "c"]
    assert read_back(["ab日本 c"]) == [words]


def test_nulls_and_no_texts() -> None:
    assert len(part_words(column([]))) == 0
    assert key_texts(part_words(column([None, ""])))[1].tolist() == [0, 0]
    empty = index_grams(part_words(column([])), 3)
    known = count_known(part_words(column(["a b c d"])), empty)[2]
    assert known.tolist() == [0]
    assert len(find_overlaps(part_words(column(["a b c d"])), empty, np.array([0])).texts) == 0


few = st.lists(st.sampled_from(["a", "b", "c"]), max_size=14).map(" ".join)


@given(st.lists(few, max_size=6), st.lists(few, max_size=6), st.integers(1, 5))
def test_overlaps_are_those_that_sets_of_grams_have(
    known: list[str], asked: list[str], size: int
) -> None:
    """Of few words, so that grams repeat within texts and between them."""
    index = index_grams(part_words(column(known)), size)
    parted = part_words(column(asked))
    counts = count_known(parted, index)[2]
    found = find_overlaps(parted, index, np.arange(len(asked)))
    references = [list_grams(text.split(), size) for text in known]
    assert index.counts.tolist() == [len(grams) for grams in references]
    everything = set().union(*references)
    best = {}
    for number, text in enumerate(asked):
        words = text.split()
        mine = list_grams(words, size)
        runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        assert counts[number] == sum(run in everything for run in runs)
        shares = [(len(mine & r) / len(r), -i) for i, r in enumerate(references) if mine & r]
        if shares:
            share, owner = max(shares)
            best[number] = (-owner, round(share * len(references[-owner])))
    owners = zip(found.owners.tolist(), found.shared.tolist(), strict=True)
    assert dict(zip(found.texts.tolist(), owners, strict=True)) == best


def test_a_run_in_very_many_texts_is_counted_in_each() -> None:
    known = [f"one two three four {i}" for i in range(5_000)]
    index = index_grams(part_words(column(known)), 4)
    found = find_overlaps(
        part_words(column(["zero one two three four 4321"])), index, np.array([0])
    )
    assert (found.owners.tolist(), found.shared.tolist()) == ([4321], [2])
