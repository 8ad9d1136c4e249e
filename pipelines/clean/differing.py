"""Two texts side by side: which words differ, and what of them is worth showing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

MOST_WORDS = 600
"""Compared between the words that both texts begin and end with: difflib's time is quadratic."""
TEXT_CHARS = 600  # of a text are shown
AROUND = 70  # characters of the same words that are shown beside differing ones


@dataclass(frozen=True)
class Piece:
    """A stretch of a text; `differs` where the other text has other words in its place."""

    text: str
    differs: bool = False


Pieces = tuple[Piece, ...]
TURNED = {"chosen": "rejected", "rejected": "chosen"}


def compare_words(one: str, other: str) -> tuple[Pieces, Pieces]:
    """The pieces of each text, which together are the text.

    Words are what stands between white space, and are the same where they are letter by letter the
    same; the white space itself is not compared. Of texts that differ over more than `MOST_WORDS`
    words the rest counts as different.
    """
    words = [re.findall(r"\s*\S+|\s+$", text) for text in (one, other)]
    bare = [[word.strip() for word in side] for side in words]
    before = _count_same(*bare)
    after = _count_same(*(side[before:][::-1] for side in bare))
    middle = [side[before : len(side) - after] for side in bare]
    found = SequenceMatcher(None, *(side[:MOST_WORDS] for side in middle), autojunk=False)
    same = [(0, 0, before)]
    same += [(a + before, b + before, size) for a, b, size in found.get_matching_blocks()]
    same.append((len(bare[0]) - after, len(bare[1]) - after, after))
    sides = (
        tuple(_cut_pieces(words[side], [(block[side], block[2]) for block in same]))
        for side in (0, 1)
    )
    return next(sides), next(sides)


def clip_pieces(pieces: Pieces, chars: int) -> Pieces:
    """The pieces without the middles of long same stretches, and at most about `chars` characters
    of them: what was left out is an ellipsis, with its length at the end."""
    shown, used = [], 0
    for place, piece in enumerate(pieces):
        text = piece.text
        if not piece.differs and len(pieces) > 1:
            text = _shorten(text, place > 0, place < len(pieces) - 1)
        room = chars - used
        if len(text) > room:
            left = len(piece.text) - room + sum(len(p.text) for p in pieces[place + 1 :])
            shown.append(Piece(f"{text[:room]}… ({left:,} more characters)", piece.differs))
            break
        shown.append(Piece(text, piece.differs))
        used += len(text)
    return tuple(shown)


def make_sides(
    rule: str, texts: Mapping[str, str], beside: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row beside the one that stands for it, or contradicts it.

    Args:
        rule: what dropped the row. `mirrored_pair` sets each answer beside the same answer of the
            other pair, which is the other way round there.
        texts, beside: name (`prompt`, `chosen`, …) -> text; of `beside` what is missing is not
            compared.

    Returns:
        For each text: name, pieces (clipped, the differing words marked), and where there is
        another one beside_name, beside (its pieces), and same: the texts are equal.
    """
    found = []
    for name, text in texts.items():
        other = TURNED.get(name, name) if rule == "mirrored_pair" else name
        if other not in beside:
            found.append({"name": name, "pieces": clip_pieces((Piece(text),), TEXT_CHARS)})
            continue
        pieces = [clip_pieces(side, TEXT_CHARS) for side in compare_words(text, beside[other])]
        found.append({"name": name, "pieces": pieces[0], "beside_name": other,
                      "beside": pieces[1], "same": text == beside[other]})  # fmt: skip
    return found


def cut_text(text: str, chars: int) -> str:
    """At most `chars` characters of a text, and how many more there are."""
    more = len(text) - chars
    return text if more <= 0 else f"{text[:chars]}… ({more:,} more characters)"


def _count_same(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _cut_pieces(words: list[str], same: list[tuple[int, int]]) -> Iterator[Piece]:
    """Pieces in turn: what stands between the same blocks (start, words), and these, joined where
    they touch."""
    at = 0
    held = ""
    for start, size in same:
        if start > at:
            other = "".join(words[at:start])
            bare = other.lstrip()
            held += other[: len(other) - len(bare)]
            if held and bare:
                yield Piece(held)
                held = ""
            if bare:
                yield Piece(bare, differs=True)
        held += "".join(words[start : start + size])
        at = start + size
    if held:
        yield Piece(held)


def _shorten(text: str, follows: bool, leads: bool) -> str:
    """A same stretch without what is far from the differing words before and behind it."""
    head, tail = AROUND if follows else 0, AROUND if leads else 0
    if len(text) <= head + tail + AROUND:
        return text
    return f"{text[:head]} … {text[len(text) - tail :] if tail else ''}"
