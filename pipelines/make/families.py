"""The verifiable task families: reasoning-gym generators at three difficulties, and arithmetic.

Only families whose scorer compares texts or numbers are here: some other reasoning-gym scorers
evaluate the answer as an expression, which is model-written code.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.errors import AssayError
from schemas.ids import make_seed

DIFFICULTIES = ("easy", "medium", "hard")

# family -> category and the generator's settings at each difficulty
FAMILIES: dict[str, tuple[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "chain_sum": ("arithmetic", (
        {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
        {"min_terms": 3, "max_terms": 4, "min_digits": 2, "max_digits": 3},
        {"min_terms": 5, "max_terms": 7, "min_digits": 3, "max_digits": 4})),
    "products": ("arithmetic", (
        {"min_digits": 1, "max_digits": 1},
        {"min_digits": 2, "max_digits": 2},
        {"min_digits": 3, "max_digits": 4})),
    "gcd": ("number-theory", (
        {"max_value": 50}, {"max_value": 500}, {"max_value": 5000, "max_numbers": 3})),
    "prime_factorization": ("number-theory", (
        {"max_value": 50}, {"max_value": 300}, {"max_value": 2000})),
    "fraction_simplification": ("number-theory", (
        {"max_value": 20, "max_factor": 5},
        {"max_value": 100, "max_factor": 20},
        {"max_value": 1000, "max_factor": 100})),
    "base_conversion": ("number-theory", (
        {"max_value": 50, "max_base": 4}, {"max_value": 500, "max_base": 9}, {"max_value": 5000})),
    "leg_counting": ("word-problems", (
        {"min_animals": 1, "max_animals": 2, "max_instances": 4},
        {"min_animals": 3, "max_animals": 5, "max_instances": 9},
        {"min_animals": 6, "max_animals": 9, "max_instances": 15})),
    "time_intervals": ("word-problems", (
        {"max_time_difference_seconds": 3600, "max_date_difference_days": 2},
        {"max_time_difference_seconds": 43200, "max_date_difference_days": 20},
        {"max_time_difference_seconds": 86400, "max_date_difference_days": 200})),
    "calendar_arithmetic": ("word-problems", (
        {"offset_upper_bound": 7}, {"offset_upper_bound": 30}, {"offset_upper_bound": 200})),
    "letter_counting": ("text-tasks", (
        {"min_words": 3, "max_words": 4}, {"min_words": 6, "max_words": 9},
        {"min_words": 12, "max_words": 18})),
    "spell_backward": ("text-tasks", (
        {"min_word_len": 3, "max_word_len": 4}, {"min_word_len": 5, "max_word_len": 7},
        {"min_word_len": 8, "max_word_len": 12})),
    "word_sorting": ("text-tasks", (
        {"min_words": 3, "max_words": 3}, {"min_words": 5, "max_words": 6},
        {"min_words": 8, "max_words": 10})),
    "caesar_cipher": ("text-tasks", (
        {"min_words": 1, "max_words": 2, "max_rotation": 3},
        {"min_words": 3, "max_words": 5, "max_rotation": 10},
        {"min_words": 6, "max_words": 10, "max_rotation": 25})),
    "syllogism": ("logic", (
        {"allow_some": False, "allow_some_not": False}, {"allow_some_not": False}, {})),
    "needle_haystack": ("logic", (
        {"min_num_statements": 3, "max_num_statements": 5},
        {"min_num_statements": 8, "max_num_statements": 12},
        {"min_num_statements": 20, "max_num_statements": 30})),
    "number_sequence": ("logic", (
        {"max_complexity": 1, "max_value": 20}, {"max_complexity": 2}, {"max_complexity": 3})),
    "count_bits": ("number-theory", ({"max_n": 31}, {"max_n": 4095}, {"max_n": 1048575})),
}  # fmt: skip


class FamilyUnknown(AssayError):
    """A recipe names a task family that does not exist."""


@dataclass(frozen=True)
class Task:
    """A verifiable prompt. `entry` is what its scorer needs besides the answer (JSON)."""

    question: str
    answer: str
    category: str
    family: str
    difficulty: str
    verifier: str
    entry: str


def choose_families(names: list[str] | str) -> list[str]:
    """The families that a recipe names; `all` for every one.

    Raises:
        FamilyUnknown: a name that is not there.
    """
    if names == "all":
        return list(FAMILIES)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise FamilyUnknown(
            f"prompts.verifiable.families names {', '.join(unknown)}; known: {', '.join(FAMILIES)}"
        )
    return list(dict.fromkeys(names))


def make_task(family: str, difficulty: str, index: int, seed: int) -> Task:
    """Generate one task of a reasoning-gym family; the same arguments give the same task."""
    import reasoning_gym

    category, settings = FAMILIES[family]
    item = reasoning_gym.create_dataset(
        family,
        size=1,
        seed=make_seed(family, difficulty, index, seed),
        **settings[DIFFICULTIES.index(difficulty)],
    )[0]
    entry = {"question": item["question"], "answer": item["answer"], "metadata": item["metadata"]}
    return Task(
        question=item["question"],
        answer=str(item["answer"]),
        category=category,
        family=family,
        difficulty=difficulty,
        verifier=f"reasoning_gym:{family}",
        entry=json.dumps(entry, ensure_ascii=False, sort_keys=True, default=str),
    )


def make_arithmetic(index: int, seed: int) -> Task:
    """Generate one short word problem with its answer, which math-verify checks."""
    rng = random.Random(make_seed("arithmetic", index, seed))
    make = PROBLEMS[index % len(PROBLEMS)]
    question, answer = make(rng)
    return Task(
        question=f"{question} Give the final answer as a number.",
        answer=answer,
        category="word-problems",
        family="arithmetic",
        difficulty="easy",
        verifier="math_verify",
        entry=json.dumps({"answer": answer}),
    )


def _shop(rng: random.Random) -> tuple[str, str]:
    pens, price, paid = rng.randint(2, 9), rng.randint(2, 7), rng.choice([100, 200])
    thing = rng.choice(["notebooks", "lamps", "mugs", "scarves"])
    return (
        f"Mira buys {pens} {thing} at {price} euros each and pays with {paid} euros. How many "
        "euros does she get back?",
        str(paid - pens * price),
    )


def _rows(rng: random.Random) -> tuple[str, str]:
    rows, seats, empty = rng.randint(4, 15), rng.randint(6, 20), rng.randint(1, 20)
    return (
        f"A small theatre has {rows} rows of {seats} seats. {empty} seats stay empty tonight. How "
        "many seats are taken?",
        str(rows * seats - empty),
    )


def _train(rng: random.Random) -> tuple[str, str]:
    speed, minutes = rng.choice([40, 60, 80, 120]), rng.choice([15, 30, 45, 90])
    return (
        f"A train runs at a steady {speed} kilometres per hour. How many kilometres does it cover "
        f"in {minutes} minutes?",
        f"{speed * minutes / 60:g}",
    )


def _share(rng: random.Random) -> tuple[str, str]:
    friends, each, left = rng.randint(3, 9), rng.randint(3, 12), rng.randint(1, 2)
    return (
        f"{friends} friends share a bag of {friends * each + left} marbles so that each gets the "
        "same whole number and as few as possible are left. How many marbles does each one get?",
        str(each),
    )


def _percent(rng: random.Random) -> tuple[str, str]:
    price, off = rng.choice([40, 60, 80, 120, 250]), rng.choice([10, 20, 25, 50])
    return (
        f"A coat costs {price} euros before a discount of {off} percent. What does it cost after "
        "the discount, in euros?",
        f"{price * (100 - off) / 100:g}",
    )


PROBLEMS: tuple[Callable[[random.Random], tuple[str, str]], ...] = (
    _shop, _rows, _train, _share, _percent,
)  # fmt: skip
