"""A rubric that gets better against gold: edits, a beam, and a test split that nothing has seen.

Discrete optimisation of a rubric after OpenRS (arXiv 2602.14069, section on refinement; a
re-implementation from its description): add, delete and modify edits, kept where they agree better
with gold. What is ours: the price of a rubric's length, the separate test split, the interval of
the gain, and that nothing replaces a rubric but a person who has read the diff.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from annotators.rubrics.aggregate import Checks, aggregate_scores, check_pair
from annotators.rubrics.gates import read_request
from annotators.rubrics.rubric import Criterion, Rubric, diff_rubrics
from annotators.talk import Item
from schemas.errors import AssayError
from schemas.ids import make_seed

POPULATION, BEAM, EDITS, ROUNDS, PATIENCE = 8, 4, 3, 6, 2
TOKEN_PRICE = 1e-4
CHARS_A_TOKEN = 4
TEST_SHARE = 0.4
RESAMPLES = 2000
LEAST_PAIRS = 20
SHOWN_MISTAKES = 6


class GoldTooSmall(AssayError):
    """There are too few gold pairs to improve a rubric and to test the gain."""


@dataclass(frozen=True)
class GoldPair:
    """A pair and the truth about it: `p_a` 1 (response_a is better), 0, or near 0.5 (no side)."""

    item: Item
    p_a: float


@dataclass(frozen=True)
class Edit:
    """A change of one criterion. `title` names the one that is deleted or modified; `criterion`
    is what comes in its place, or what is added."""

    action: Literal["add", "delete", "modify"]
    title: str = ""
    criterion: Criterion | None = None


@dataclass(frozen=True)
class Step:
    """A rubric that was tried on the dev part, and the edit that made it (of the original none)."""

    generation: int
    edit: Edit | None
    rubric: Rubric
    agreement: float
    fitness: float


Pair = tuple[str, ...]
Score = float | None
JudgeScores = Callable[[Criterion, Sequence[Item]], Sequence[Score]]
Propose = Callable[[Rubric, Sequence[GoldPair], int], Sequence[Edit]]


@dataclass(frozen=True)
class Evolved:
    """What evolution came to.

    `candidate` is the fittest rubric on the dev part. `gain` is its agreement on the test part less
    that of the original, with a 95 % bootstrap `interval` over prompts; it is `recommended` where
    the interval lies above 0. `best` is what to use: the candidate if recommended, else the
    original. `diff` is from the original to the candidate, for a person to approve.
    """

    original: Rubric
    candidate: Rubric
    history: tuple[Step, ...]
    dev_pairs: int
    test_pairs: int
    test_agreement: tuple[float, float]
    gain: float
    interval: tuple[float, float]
    scored: int

    @property
    def recommended(self) -> bool:
        """Whether the gain on unseen pairs is more than chance."""
        return self.interval[0] > 0

    @property
    def best(self) -> Rubric:
        """The rubric to use."""
        return self.candidate if self.recommended else self.original

    @property
    def diff(self) -> str:
        """The change that a person is asked to approve."""
        return diff_rubrics(self.original, self.candidate)


@dataclass
class ScoreBook:
    """The scores of pairs by criterion, each asked for once: an edit pays for what it adds, and
    another kind or weight costs nothing. `asked` counts pairs x criteria."""

    judge_scores: JudgeScores
    asked: int = 0
    _known: dict[tuple[str, str], dict[Pair, Score]] = field(default_factory=dict)

    def find(self, criterion: Criterion, pairs: Sequence[GoldPair]) -> list[Score]:
        """The score of each pair, None where the judge gave none.

        Raises:
            ValueError: the judge gave another number of scores than it was given pairs.
        """
        known = self._known.setdefault((criterion.title, criterion.description), {})
        new = [pair.item for pair in pairs if pair.item.response_ids not in known]
        if new:
            scores = self.judge_scores(criterion, new)
            known |= {item.response_ids: s for item, s in zip(new, scores, strict=True)}
            self.asked += len(new)
        return [known[pair.item.response_ids] for pair in pairs]


def evolve_rubric(
    rubric: Rubric,
    judge_scores: JudgeScores,
    gold: Sequence[GoldPair],
    propose: Propose,
    *,
    rounds: int = ROUNDS,
    token_price: float = TOKEN_PRICE,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Evolved:
    """Improve a rubric against gold.

    Each round, each of the 4 fittest rubrics is changed by up to 3 proposed edits; the 8 fittest
    distinct ones live on. It ends after `rounds`, or when two rounds have changed none of them.
    Fitness is the agreement with gold on the dev part less `token_price` x the tokens of the
    criteria (a token is 4 characters). The test part, 40 % of the prompts, is scored only at the
    end, and only for the original and the candidate.

    Args:
        judge_scores: the score of a criterion for each item, -2 to 2 and positive where response_a
            is better, None where there is none.
        propose: up to so many edits of a rubric, given pairs that it gets wrong.

    Raises:
        GoldTooSmall: fewer than 20 pairs, or all on one prompt.
    """
    dev, test = split_gold(gold, seed)
    book = ScoreBook(judge_scores)
    checks = {pair.item.response_ids: check_item(rubric, pair.item) for pair in gold}

    def rate(candidate: Rubric, pairs: Sequence[GoldPair]) -> list[float]:
        return rate_pairs(candidate, pairs, book, checks)

    def try_rubric(generation: int, edit: Edit | None, tried: Rubric) -> Step:
        rates = rates_of[_identify(tried)] = rate(tried, dev)
        agreement = float(np.mean(rates))
        fitness = agreement - token_price * count_tokens(tried)
        return Step(generation, edit, tried, agreement, fitness)

    rates_of: dict[frozenset[Criterion], list[float]] = {}
    first = try_rubric(0, None, rubric)
    population, history, stalled = [first], [first], 0
    for generation in range(1, rounds + 1):
        before = population
        for parent in population[:BEAM]:
            wrong = _find_mistakes(dev, rates_of[_identify(parent.rubric)])
            for edit in list(propose(parent.rubric, wrong, EDITS))[:EDITS]:
                child = apply_edit(parent.rubric, edit)
                if child is not None and _identify(child) not in rates_of:
                    history.append(try_rubric(generation, edit, child))
        made = [step for step in history if step.generation == generation]
        population = sorted([*population, *made], key=lambda s: -s.fitness)[:POPULATION]
        tell(
            f"round {generation}: {len(made)} new rubrics, agreement {population[0].agreement:.3f}"
        )
        stalled = stalled + 1 if population == before else 0
        if stalled == PATIENCE:
            break
    best = population[0].rubric
    candidate = rubric if best is rubric else replace(best, version=rubric.version + 1)
    rates = [rate(one, test) for one in (rubric, candidate)]
    gains = np.array(rates[1]) - np.array(rates[0])
    return Evolved(
        rubric,
        candidate,
        tuple(history),
        len(dev),
        len(test),
        (float(np.mean(rates[0])), float(np.mean(rates[1]))),
        float(gains.mean()),
        bootstrap_mean(gains, [pair.item.prompt_id for pair in test], seed),
        book.asked,
    )


def split_gold(gold: Sequence[GoldPair], seed: int = 0) -> tuple[list[GoldPair], list[GoldPair]]:
    """Dev and test part; all pairs of a prompt are in one of them. Follows from ids and `seed`.

    Raises:
        GoldTooSmall: fewer than 20 pairs, or all on one prompt.
    """
    prompts = sorted({pair.item.prompt_id for pair in gold})
    if len(gold) < LEAST_PAIRS or len(prompts) < 2:
        raise GoldTooSmall(
            f"{len(gold)} gold pairs on {len(prompts)} prompts: a rubric needs at least "
            f"{LEAST_PAIRS} on two to be improved and tested; label more pairs first"
        )
    prompts.sort(key=lambda prompt: make_seed("gold split", seed, prompt))
    count = min(len(prompts) - 1, max(1, round(TEST_SHARE * len(prompts))))
    held_out = set(prompts[:count])
    dev = [pair for pair in gold if pair.item.prompt_id not in held_out]
    return dev, [pair for pair in gold if pair.item.prompt_id in held_out]


def apply_edit(rubric: Rubric, edit: Edit) -> Rubric | None:
    """The rubric after an edit, without its tests; None where the edit cannot be made: it names
    no criterion that a model judges, repeats a title, or leaves nothing to judge."""
    places = [i for i, c in enumerate(rubric.criteria) if c.title == edit.title and not c.check]
    criteria = list(rubric.criteria)
    if edit.action != "add":
        if not places:
            return None
        del criteria[places[0]]
    if edit.action != "delete":
        if edit.criterion is None:
            return None
        criteria.insert(places[0] if edit.action == "modify" else len(criteria), edit.criterion)
    try:
        return replace(rubric, criteria=tuple(criteria), tests=())
    except ValueError:
        return None


def check_item(rubric: Rubric, item: Item) -> Checks:
    """What the gates of a rubric say of a pair; edits leave them as they are."""
    request = read_request(item.messages)
    return check_pair(rubric.criteria, request, item.contents[0], item.contents[1])


def rate_pairs(
    rubric: Rubric, pairs: Sequence[GoldPair], book: ScoreBook, checks: Mapping[Pair, Checks]
) -> list[float]:
    """How far a rubric agrees with each gold pair: 1 the same side, 0 the other one, 0.5 where
    only one of the two takes a side. A criterion without a score is left out of that pair; a pair
    without any score counts as no side."""
    columns = [(criterion, book.find(criterion, pairs)) for criterion in rubric.asked]
    rates = []
    for place, pair in enumerate(pairs):
        given = [(c, s) for c, scores in columns if (s := scores[place]) is not None]
        found = checks[pair.item.response_ids]
        p_a = aggregate_scores([*given, *found.scores], found.penalties).p_a
        sides = [_take_side(p_a), _take_side(pair.p_a)]
        rates.append(1.0 - abs(sides[0] - sides[1]) / 2)
    return rates


def count_tokens(rubric: Rubric) -> float:
    """How long the criteria are that a model reads, in tokens of 4 characters."""
    return sum(len(c.title) + len(c.description) for c in rubric.asked) / CHARS_A_TOKEN


def bootstrap_mean(
    values: np.typing.NDArray[np.float64], groups: Sequence[str], seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a mean, resampling whole groups (2000 times)."""
    names, places = np.unique(np.array(groups), return_inverse=True)
    sums = np.bincount(places, weights=values, minlength=len(names))
    counts = np.bincount(places, minlength=len(names))
    draws = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _find_mistakes(dev: Sequence[GoldPair], rates: Sequence[float]) -> list[GoldPair]:
    rated = sorted(zip(rates, dev, strict=True), key=lambda pair: pair[0])
    return [pair for value, pair in rated if value < 1][:SHOWN_MISTAKES]


def _take_side(p_a: float) -> float:
    return 0.0 if math.isclose(p_a, 0.5, abs_tol=1e-9) else math.copysign(1.0, p_a - 0.5)


def _identify(rubric: Rubric) -> frozenset[Criterion]:
    return frozenset(rubric.criteria)
