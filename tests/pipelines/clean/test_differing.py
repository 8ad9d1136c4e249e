"""Texts side by side: nothing is lost, and what differs is what is marked."""

from __future__ import annotations

import time
from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.differing import (
    MOST_WORDS,
    Piece,
    clip_pieces,
    compare_words,
    cut_text,
    make_sides,
)

TEXTS = st.text(st.sampled_from("ab \n\u05d0"), max_size=60)


@given(TEXTS, TEXTS)
def test_the_pieces_are_the_text_and_the_same_ones_are_the_same(one: str, other: str) -> None:
    sides = compare_words(one, other)
    for text, pieces in zip((one, other), sides, strict=True):
        assert "".join(piece.text for piece in pieces) == text
        assert all(piece.text for piece in pieces)
        assert all(a.differs != b.differs for a, b in pairwise(pieces))
    same = [[p.text.split() for p in pieces if not p.differs] for pieces in sides]
    assert list(chain(*same[0])) == list(chain(*same[1]))


@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    for pieces in compare_words(text, text):
        assert not any(piece.differs for piece in pieces)


def test_only_the_changed_words_are_marked() -> None:
    one, other = compare_words("Keep it  dry and cool.", "Keep it warm, dry and cool .")
    assert [piece.text for piece in one if piece.differs] == ["cool."]
    assert [piece.text for piece in other if piece.differs] == ["warm,", "cool ."]


def test_long_texts_take_no_time_and_differ_to_the_end() -> None:
    words = MOST_WORDS * 20
    one, other = ("".join(f"{letter}{i % 7} the " for i in range(words)) for letter in "xy")
    started = time.process_time()
    pieces, _ = compare_words(one, other)
    assert time.process_time() - started < 2
    assert pieces[-1].differs or pieces[-2].differs


def test_clipped_pieces_keep_what_differs_and_say_what_is_missing() -> None:
    far = "same " * 200
    pieces, _ = compare_words(f"{far}this {far}", f"{far}that {far}")
    shown = clip_pieces(pieces, 600)
    assert [piece.text for piece in shown if piece.differs] == ["this"]
    assert sum(len(piece.text) for piece in shown) < 300
    assert clip_pieces((Piece("a" * 700),), 600)[0].text == "a" * 600 + "… (100 more characters)"
    ten = tuple(Piece("b" * 100, place % 2 == 0) for place in range(10))
    assert clip_pieces(ten, 250)[-1].text.endswith("… (750 more characters)")
    assert cut_text("abc", 3) == "abc" and cut_text("abcd", 3) == "abc… (1 more characters)"


def test_a_mirrored_pair_is_shown_beside_the_other_way_round() -> None:
    pair = {"prompt": "Why?", "chosen": "One", "rejected": "Two"}
    turned = {"prompt": "Why?", "chosen": "Two", "rejected": "One"}
    sides = make_sides("mirrored_pair", pair, turned)
    assert [(side["name"], side["beside_name"]) for side in sides] == [
        ("prompt", "prompt"), ("chosen", "rejected"), ("rejected", "chosen"),
    ]  # fmt: skip
    assert all(side["same"] for side in sides)
    assert not make_sides("duplicate_pair", pair, turned)[1]["same"]
    assert make_sides("too_short", pair, {}) == [
        {"name": name, "pieces": (Piece(text),)} for name, text in pair.items()
    ]
