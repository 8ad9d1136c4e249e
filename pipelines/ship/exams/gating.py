"""The gate: whether a version is better than the one before it.

Both go through the same small probe, on the same items (paired bootstrap over prompts), whatever
models were trained: what is compared is data. A version passes that is better on at least one set
and worse on none. Worse is what lies below the 95 % interval of the difference. Better must hold
for all sets together: of several, one is better by luck more often than 2.5 % of the time, so their
one-sided p-values, of the bootstrap and of a sign test, the larger of the two, go through Holm's
procedure (1979). A set of few prompts lets nothing through. What may not gate: RewardBench (the
first), and held-out pairs whose labels nobody verified, on which a version agrees with itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.ship.exams.examination import Examination, is_trusted
from pipelines.ship.exams.items import ExamSet
from pipelines.ship.exams.probing import embed, learn, list_texts, reward_with, stack_differences
from pipelines.ship.exams.reading import NEVER_A_GATE
from pipelines.ship.exams.scoring import (
    HELD_OUT,
    compare_ledgers,
    doubt_ledgers,
    keep_ledger,
    write_interval,
)
from pipelines.ship.exams.taking import name_sets
from pipelines.ship.publish import Published, list_versions

LEVEL = 0.025  # on one side, as that of a 95 % interval
LEAST_PROMPTS = 20


@dataclass(frozen=True)
class Verdict:
    """Whether a version passes and why. `against` is the version before it (NAME@V, None for the
    first), `sets` what was compared, see `compare_versions`."""

    passed: bool
    reason: str
    against: str | None
    sets: dict[str, dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"passed": self.passed, "reason": self.reason, "against": self.against,
                "sets": self.sets}  # fmt: skip


def pass_gate(exam: Examination, sets: Sequence[ExamSet]) -> Verdict:
    """Hold a version against the one before it, on its held-out pairs and on `sets`.

    Raises:
        pipelines.ship.exams.examination.TooLittleTaught: one of them is too small for a probe.
    """
    earlier = find_earlier(exam)
    if earlier is None:
        return Verdict(True, "there is no earlier version to be better than", None, {})
    compared = compare_versions(exam, earlier, sets)
    against = f"{earlier.name}@{earlier.version}"
    passed, reason = decide(compared, against)
    return Verdict(passed, reason, against, compared)


def find_earlier(exam: Examination) -> Published | None:
    """The version of the same name before this one."""
    known = list_versions(exam.lake, exam.version.name)
    before = [version for version in known if version.version < exam.version.version]
    return before[-1] if before else None


def compare_versions(
    exam: Examination, earlier: Published, sets: Sequence[ExamSet]
) -> dict[str, dict[str, Any]]:
    """How much higher the probe of this version scores than that of an earlier one, by set:
    {n, prompts, score (the difference), ci, doubt (its one-sided p-value), gates}. The held-out
    pairs are this version's: a prompt keeps its split, so the earlier one did not learn from them
    either."""
    both = [
        Examination(exam.lake, exam.run, version, exam.seed).lessons[0]
        for version in (exam.version, earlier)
    ]
    every = [found for found in (exam.held_out, *sets) if found.items]
    texts = [text for found in every for text in list_texts(found.items)]
    texts += [text for lessons in both for text in (*lessons.chosen, *lessons.rejected)]
    vectors = embed(exam.lake, exam.run, texts)
    rewards = [reward_with(learn(stack_differences(vectors, one)), vectors) for one in both]
    compared = {}
    for name, found in zip(name_sets(every), every, strict=True):
        first, second = (
            keep_ledger(found.name, found.items, reward(found.items)) for reward in rewards
        )
        compared[name] = {
            "n": len(found.items),
            "prompts": len({item.prompt_key for item in found.items}),
            **write_interval(compare_ledgers(first, second, exam.seed)),
            "doubt": doubt_ledgers(first, second, exam.seed),
            "gates": is_trusted(exam) if found.name == HELD_OUT
            else found.name not in NEVER_A_GATE,
        }  # fmt: skip
    return compared


def decide(compared: dict[str, dict[str, Any]], against: str) -> tuple[bool, str]:
    """Whether differences pass, and why, as a sentence."""
    gating = {name: row for name, row in compared.items() if row["gates"]}
    if not gating:
        return False, (
            "nothing here may gate: the held-out pairs are none, or their labels are those of the "
            f"version's own judges, and {' and '.join(NEVER_A_GATE)} never gates; release gold of "
            "people or give an outside set with --set"
        )
    said = "; ".join(_say(name, row) for name, row in gating.items())
    worse = [name for name, row in gating.items() if (row["ci"][1] or 0) < 0]
    if worse:
        return False, f"worse than {against} on {', '.join(worse)} ({said})"
    enough = {name: row for name, row in gating.items() if row["prompts"] >= LEAST_PROMPTS}
    if not enough:
        return False, f"too few prompts to be better than {against} beyond doubt ({said})"
    better = hold_jointly({name: row["doubt"] for name, row in enough.items()})
    if not better:
        alone = [name for name, row in enough.items() if (row["ci"][0] or 0) > 0]
        luck = f"; on {', '.join(alone)} it may be so by luck" if alone else ""
        return False, f"not better than {against} beyond doubt{luck} ({said})"
    return True, f"better than {against} on {', '.join(better)} ({said})"


def hold_jointly(doubts: Mapping[str, float], level: float = LEVEL) -> list[str]:
    """The names whose p-values hold together, in the order given: Holm's procedure, by which the
    chance that any of them is there by luck is `level` at most. One alone is held against it as it
    is."""
    kept = []
    for at, (name, doubt) in enumerate(sorted(doubts.items(), key=lambda item: item[1])):
        if doubt > level / (len(doubts) - at):
            break
        kept.append(name)
    return [name for name in doubts if name in kept]


def _say(name: str, row: dict[str, Any]) -> str:
    low, high = (100 * (bound or 0) for bound in row["ci"])
    few = f", too few: {row['prompts']} prompts, and it takes {LEAST_PROMPTS}"
    return (
        f"{name}: {100 * (row['score'] or 0):+.1f} points, 95 % {low:+.1f} to {high:+.1f}, "
        f"n = {row['n']}{few if row['prompts'] < LEAST_PROMPTS else ''}"
    )
