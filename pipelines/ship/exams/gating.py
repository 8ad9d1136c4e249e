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
from dataclasses import dataclass, replace
from typing import Any

from pipelines.ship.exams.examination import Examination, is_trusted
from pipelines.ship.exams.items import ExamSet
from pipelines.ship.exams.leaks import drop_taught, gather_taught, keep_taught
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
    {n, prompts, left_out, score (the difference), ci, doubt (its one-sided p-value), gates}. Items
    whose prompts either version teaches are left out, of the held-out pairs (this version's) too:
    what was learned examines nothing."""
    both = [replace(exam, version=version, model=None) for version in (exam.version, earlier)]
    lessons = [one.lessons[0] for one in both]
    taught = gather_taught([keep_taught(one.rows) for one in both])
    whole = [found for found in (exam.held_out, *sets) if found.items]
    every = [drop_taught(found, taught) for found in whole]
    texts = [text for found in every for text in list_texts(found.items)]
    texts += [text for one in lessons for text in (*one.chosen, *one.rejected)]
    vectors = embed(exam.lake, exam.run, texts)
    rewards = [reward_with(learn(stack_differences(vectors, one)), vectors) for one in lessons]
    compared: dict[str, dict[str, Any]] = {}
    for name, before, found in zip(name_sets(whole), whole, every, strict=True):
        compared[name] = {
            "n": len(found.items),
            "prompts": len({item.prompt_key for item in found.items}),
            "left_out": len(before.items) - len(found.items),
            "score": None, "ci": [None, None], "doubt": 1.0,
            "gates": is_trusted(exam) if found.name == HELD_OUT
            else found.name not in NEVER_A_GATE,
        }  # fmt: skip
        if not found.items:
            continue
        first, second = (
            keep_ledger(found.name, found.items, reward(found.items)) for reward in rewards
        )
        compared[name] |= write_interval(compare_ledgers(first, second, exam.seed))
        compared[name]["doubt"] = doubt_ledgers(first, second, exam.seed)
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
    if not any(row["n"] for row in gating.values()):
        return False, (
            f"nothing is left that may gate: all prompts of {', '.join(gating)} are taught by the "
            f"version or by {against}, and what was learned examines nothing; give a set with "
            "--set whose prompts neither holds"
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
    out = f", {row['left_out']} left out whose prompts are taught" if row["left_out"] else ""
    if not row["n"]:
        return f"{name}: nothing{out}"
    low, high = (100 * (bound or 0) for bound in row["ci"])
    few = f", too few: {row['prompts']} prompts, and it takes {LEAST_PROMPTS}"
    return (
        f"{name}: {100 * (row['score'] or 0):+.1f} points, 95 % {low:+.1f} to {high:+.1f}, "
        f"n = {row['n']}{out}{few if row['prompts'] < LEAST_PROMPTS else ''}"
    )
