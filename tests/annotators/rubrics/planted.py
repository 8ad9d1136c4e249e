"""Synthetic pairs whose truth follows from planted criteria, and a judge that counts words.

Each word of `WORDS` is a possible criterion: the response that has the word is better on it. A few
of them, with their kinds, are planted and make the truth; the others make no difference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from annotators.rubrics.aggregate import aggregate_scores
from annotators.rubrics.evolve import Edit, GoldPair
from annotators.rubrics.rubric import Criterion, Kind, Rubric
from annotators.talk import Item
from tests.annotators.judging import make_item

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "glade", "heath", "islet", "joust")


def make_criterion(word: str, kind: Kind = "core") -> Criterion:
    return Criterion(word, f"It has the word {word}.", kind)


def make_rubric(kinds: dict[str, Kind]) -> Rubric:
    criteria = tuple(make_criterion(word, kind) for word, kind in kinds.items())
    return Rubric("planted", 1, ("*",), criteria)


def count_words(criterion: Criterion, items: Sequence[Item]) -> list[float]:
    """The deterministic judge: 2 where only response_a has the word, -2 where only response_b."""
    return [2.0 * sum((1, -1)[i] for i, text in enumerate(item.contents)
                      if criterion.title in text.split()) for item in items]  # fmt: skip


def make_pairs(
    count: int, seed: int, truth: Callable[[Item, random.Random], float]
) -> list[GoldPair]:
    """Pairs of responses of random words, and what `truth` says of each."""
    draw = random.Random(seed)
    pairs = []
    for number in range(count):
        texts = [" ".join(word for word in WORDS if draw.random() < 0.5) for _ in range(2)]
        item = make_item(*(f"{text} end{i}" for i, text in enumerate(texts)), prompt=f"Q{number}")
        pairs.append(GoldPair(item, truth(item, draw)))
    return pairs


def follow(rubric: Rubric, noise: float = 0.0) -> Callable[[Item, random.Random], float]:
    """The truth by a planted rubric; a share `noise` of the pairs is turned round."""

    def truth(item: Item, draw: random.Random) -> float:
        scored = [(c, count_words(c, [item])[0]) for c in rubric.criteria]
        p_a = aggregate_scores(scored).p_a
        said = 0.5 if p_a == 0.5 else float(p_a > 0.5)
        return 1 - said if draw.random() < noise else said

    return truth


def toss(_item: Item, draw: random.Random) -> float:
    """No truth at all."""
    return float(draw.random() < 0.5)


def propose_at_random(seed: int) -> Callable[[Rubric, Sequence[GoldPair], int], list[Edit]]:
    """A proposer that knows the words, and nothing about which of them matter."""
    draw = random.Random(seed)

    def propose(rubric: Rubric, _wrong: Sequence[GoldPair], count: int) -> list[Edit]:
        here = [criterion.title for criterion in rubric.criteria]
        edits = []
        for _ in range(count):
            action = draw.choice(("add", "add", "delete", "modify"))
            old, kind = draw.choice(here), draw.choice(("hard", "core", "important", "highlight"))
            word = old if action == "modify" else draw.choice(WORDS)
            new = None if action == "delete" else make_criterion(word, kind)
            edits.append(Edit(action, "" if action == "add" else old, new))
        return edits

    return propose
