"""The walk over words: the same as the slow way round, whatever the text and the buffer."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.kernels.plain import END, list_plain
from pipelines.clean.kernels.words import Texts, count_room, hash_words, read_texts, roll_words
from tests.slow_kernels import hash_text, normalise_texts, roll

ODD = [
    "", " ", "\0", "a\0", "\0a", "É", "e\u0301", "é É", "ǅ ß ẞ İ I \u0131", "ΣΑΣ ΟΔΟΣ", "\u212b Å",
    "a\u00a0b\u2003c\u3000d\u0085e\x1cf", "“quoted” – it’s", "שלום עולם", "مرحبا بالعالم",
    "日本語 のテキスト", "\u1100\u1161\u11a8 각", "😀 ❤️ 👩‍👩‍👧", "क्षि", "x" * 63 + " y",
    "x" * 64 + " y",
    " " * 130 + "A", "word " * 40, "a\r\n\t b\x0b\x0cc", "ﬁ ²", "\u0344", "𝐀𐐀", "\U0010ffff",
]  # fmt: skip
letters = st.sampled_from(list("aB \t\n.éÉ\u0301’ \u00a0\0Σς日\U0001f600\u1161\u2028"))
texts = st.one_of(st.text(), st.text(letters, max_size=200), st.sampled_from(ODD))


def walk(given: Texts) -> list[tuple[list[int], int, int]]:
    """The hashes of each text."""
    tail = np.empty(64, dtype=np.uint8)
    out = []
    for start, end in zip(given.starts, given.ends, strict=True):
        words = np.empty(count_room(given), dtype=np.uint64)
        count, first, other = hash_words(given.data, start, end, words, tail)
        out.append(([int(word) for word in words[:count]], int(first), int(other)))
    return out


@given(st.lists(texts, max_size=8))
def test_the_kernel_hashes_what_the_slow_way_hashes(drawn: list[str]) -> None:
    found = walk(read_texts(pl.Series("text", drawn, dtype=pl.String)))
    assert found == [hash_text(text) for text in normalise_texts(drawn)]


@pytest.mark.parametrize("text", ODD)
def test_each_awkward_text_alone_at_the_very_end_of_its_buffer(text: str) -> None:
    assert walk(read_texts(pa.array([text]))) == [hash_text(normalise_texts([text])[0])]


@given(st.lists(st.none() | texts, max_size=12), st.integers(0, 11), st.integers(0, 12))
def test_slices_pieces_nulls_and_kinds_of_a_column_read_alike(
    drawn: list[str | None], start: int, length: int
) -> None:
    column = pa.array(drawn, type=pa.string())
    part = column.slice(start, length)
    wanted = [hash_text(text) for text in normalise_texts([t.as_py() or "" for t in part])]
    assert walk(read_texts(part)) == wanted
    assert walk(read_texts(part.cast(pa.large_string()))) == wanted
    assert walk(read_texts(pa.chunked_array([column.slice(0, 0), part], pa.string()))) == wanted
    assert walk(read_texts(pl.Series(drawn, dtype=pl.String).slice(start, length))) == wanted
    assert walk(read_texts(part.dictionary_encode())) == wanted


def test_no_column_is_too_empty() -> None:
    for column in (pa.array([], pa.string()), pa.chunked_array([], pa.string()), pl.Series([""])):
        assert walk(read_texts(column)) == [hash_text("")] * len(column)
    assert walk(read_texts(pa.nulls(3, pa.string()))) == [hash_text("")] * 3


def test_a_text_of_five_megabytes_is_a_text() -> None:
    text = "Lorem IPSUM dolor\n" * 280_000
    assert walk(read_texts(pl.Series([text]))) == [hash_text(normalise_texts([text])[0])]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 13))
def test_shingles_are_runs_of_words(drawn: list[int], size: int) -> None:
    words = np.array(drawn, dtype=np.uint64)
    shingles = np.empty(len(words), dtype=np.uint64)
    count = roll_words(words, len(words), size, shingles)
    assert [int(shingle) for shingle in shingles[:count]] == roll(drawn, size)


def test_a_plain_character_is_normal_and_joins_with_none() -> None:
    plain = [code for code in np.flatnonzero(list_plain()) if code >= 128]
    assert {ord(c) for c in "é’–日ж\U0001f600\u200d\ufe0f"} <= set(plain)
    assert not {ord(c) for c in "É\u0301Ж\u00a0\u1161\u0958\u2126"} & set(plain)
    assert len(plain) > 50_000
    chars = [chr(code) for code in plain]
    assert normalise_texts(chars) == chars
    # nor does one join with what may stand before it in a text of plain characters
    seconds = set(chars)
    for code in range(END):
        parts = unicodedata.normalize("NFD", chr(code))
        if len(parts) > 1 and unicodedata.normalize("NFC", parts) != parts:
            assert parts[-1] not in seconds
    assert normalise_texts(["".join(chars)]) == ["".join(chars)]


def test_words_keep_apart() -> None:
    words = {
        f"{stem}{i}"
        for stem in ("", "a", "word", "longer-than-eight-", "\0")
        for i in range(40_000)
    }
    found = read_texts(pl.Series(sorted(words)))
    hashes = {(key[0][0], key[1], key[2]) for key in walk_quickly(found)}
    for part in range(3):
        assert len({key[part] for key in hashes}) == len(words)


def walk_quickly(given: Texts) -> list[tuple[list[int], int, int]]:
    """As `walk`, for texts of a word."""
    tail, words = np.empty(64, dtype=np.uint8), np.empty(16, dtype=np.uint64)
    out = []
    for start, end in zip(given.starts, given.ends, strict=True):
        _, first, other = hash_words(given.data, start, end, words, tail)
        out.append(([int(words[0])], int(first), int(other)))
    return out


def test_machine_code_is_kept_in_the_home_and_used_again(tmp_path: Path) -> None:
    code = (
        "import polars as pl; from pipelines.clean.kernels import plain, words; "
        "words.read_texts(pl.Series(['a'])); print(sum(plain.find_odd.stats.cache_hits.values()))"
    )
    home = {**os.environ, "ASSAY_HOME": str(tmp_path)}
    home.pop("NUMBA_CACHE_DIR", None)
    for hits in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code], env=home, capture_output=True, text=True
        )
        assert done.stdout.split() == [hits], done.stderr
    assert list((tmp_path / "kernels").rglob("*.nbc"))
