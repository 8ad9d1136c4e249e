"""From scores per criterion to one opinion, outside the model.

Weights and veto are those of OpenRS (arXiv 2602.14069), penalties those of CaRL (multiplied, so
that no merit can outweigh a fatal flaw). Everything here is pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from annotators.rubrics.gates import GATES
from annotators.rubrics.rubric import Criterion, Rubric, RubricTest

WEIGHTS = {"core": 5.0, "important": 2.0, "highlight": 1.0}
LIMIT = 2.0


@dataclass(frozen=True)
class Outcome:
    """What the criteria come to, positive where response_a is better.

    `score` is the sum of the hard criteria where one of them is not 0 (`veto_by` names those),
    else `mean_all`. `mean_all` is the weighted mean over all criteria that are not hard,
    `mean_nonzero` over those of them that are not 0: of the same sign and never nearer to 0, it is
    what OpenRS takes, but a further small advantage can lower it, so `p_a` does not follow it.
    """

    score: float
    mean_all: float
    mean_nonzero: float
    veto_by: tuple[str, ...]
    penalties: tuple[float, float]
    p_a: float

    @property
    def tie(self) -> bool:
        """Whether neither response is better."""
        return self.p_a == 0.5


@dataclass(frozen=True)
class Checks:
    """What the gates say of a pair: scores of criteria without a penalty (2, 0 or -2), what the
    penalties leave of each response, and the gates that each has failed with the reasons."""

    scores: tuple[tuple[Criterion, float], ...]
    penalties: tuple[float, float]
    failed: tuple[Mapping[str, str], Mapping[str, str]]


def aggregate_scores(
    scored: Sequence[tuple[Criterion, float]], penalties: tuple[float, float] = (1.0, 1.0)
) -> Outcome:
    """Combine the scores of criteria, each from -2 to 2 and positive where response_a is better.

    p_a = sigmoid(x + ln f_a - ln f_b), with f the penalties, x = mean_all, and under a veto
    x = score + 2 sign(score), so that a hard criterion always says more than all others can. In
    every score p_a never falls where the score rises; with the responses swapped it is 1 - p_a.
    Nobody has calibrated it. A response with a penalty of 0 has p 0, whatever its scores; two
    such are a tie.

    Raises:
        ValueError: a score or a penalty outside its range.
    """
    for criterion, score in scored:
        if not abs(score) <= LIMIT:
            raise ValueError(f"{criterion.title}: {score} is no score from -2 to 2")
    hard = [(criterion.title, score) for criterion, score in scored if criterion.kind == "hard"]
    soft = [(WEIGHTS[criterion.kind], score) for criterion, score in scored
            if criterion.kind != "hard"]  # fmt: skip
    mean_all, mean_nonzero = _average(soft), _average([(w, s) for w, s in soft if s])
    veto_by = tuple(title for title, score in hard if score)
    score = math.fsum(score for _, score in hard) if veto_by else mean_all
    logit = score + math.copysign(LIMIT, score) if veto_by and score else score
    p_a = penalise_pair(logit, *penalties)
    return Outcome(score, mean_all, mean_nonzero, veto_by, penalties, p_a)


def penalise(merit: float, factors: Iterable[float]) -> float:
    """The merit of one response times its penalty factors (CaRL).

    Args:
        merit: not negative: a penalty on a negative number would be a reward.
        factors: what each flaw leaves, from 0 (fatal) to 1 (none).

    Raises:
        ValueError: a negative merit, or a factor outside [0, 1].
    """
    if not merit >= 0:
        raise ValueError(f"a merit must not be negative: {merit}")
    for factor in factors:
        if not 0 <= factor <= 1:
            raise ValueError(f"a penalty factor goes from 0 to 1: {factor}")
        merit *= factor
    return merit


def penalise_pair(logit: float, factor_a: float, factor_b: float) -> float:
    """The probability that response_a is better: its odds exp(`logit`) times factor_a / factor_b,
    as if each penalty were on the response's Bradley-Terry strength.

    Raises:
        ValueError: a factor outside [0, 1].
    """
    penalise(1.0, (factor_a, factor_b))
    if factor_a == factor_b == 0:
        return 0.5
    if factor_a == 0 or factor_b == 0:
        return 0.0 if factor_a == 0 else 1.0
    x = logit + math.log(factor_a) - math.log(factor_b)
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def check_pair(criteria: Iterable[Criterion], request: str, a: str, b: str) -> Checks:
    """Let the gates decide the criteria that have a check. One that the request gives no occasion
    to is left out.

    Args:
        request: see `annotators.rubrics.gates.read_request`.
    """
    scores: list[tuple[Criterion, float]] = []
    penalties = [1.0, 1.0]
    failed: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for criterion in criteria:
        if criterion.check is None:
            continue
        gate = GATES[criterion.check]
        findings = [gate(request, content) for content in (a, b)]
        passed = [finding is None or finding.passed for finding in findings]
        for side, finding in enumerate(findings):
            if finding is not None and not finding.passed:
                failed[side][criterion.check] = finding.reason
                if criterion.penalty is not None:
                    penalties[side] *= criterion.penalty
        if criterion.penalty is None and any(findings):
            scores.append((criterion, LIMIT * (passed[0] - passed[1])))
    return Checks(tuple(scores), (penalties[0], penalties[1]), failed)


def find_faults(rubric: Rubric) -> list[str]:
    """Run a rubric's own tests; a sentence for each expectation that it does not meet."""
    return [fault for test in rubric.tests for fault in find_test_faults(rubric, test)]


def find_test_faults(rubric: Rubric, test: RubricTest) -> list[str]:
    """Run one test of a rubric."""
    checks = check_pair(rubric.criteria, test.prompt, test.a, test.b)
    given = [(criterion, float(test.scores.get(criterion.title, 0))) for criterion in rubric.asked]
    outcome = aggregate_scores([*given, *checks.scores], checks.penalties)
    better = "tie" if outcome.tie else "a" if outcome.p_a > 0.5 else "b"
    found = [
        ("better", test.better, better),
        ("veto_by", sorted(test.veto_by), sorted(outcome.veto_by)),
        ("fails.a", sorted(test.fails.get("a", ())), sorted(checks.failed[0])),
        ("fails.b", sorted(test.fails.get("b", ())), sorted(checks.failed[1])),
    ]
    return [
        f"{rubric.name}: test {test.name!r}: {key} is {got!r}, not {wanted!r}"
        for key, wanted, got in found
        if wanted != got
    ]


def keep_tests(rubric: Rubric, tests: Iterable[RubricTest]) -> tuple[RubricTest, ...]:
    """Those of the tests of another rubric that this one meets, and can: each names only criteria
    that it has."""
    titles = {criterion.title for criterion in rubric.criteria}
    fit = [test for test in tests if {*test.scores, *test.veto_by} <= titles]
    return tuple(test for test in fit if not find_test_faults(rubric, test))


def _average(weighted: Sequence[tuple[float, float]]) -> float:
    total = math.fsum(weight for weight, _ in weighted)
    return math.fsum(weight * score for weight, score in weighted) / total if total else 0.0
