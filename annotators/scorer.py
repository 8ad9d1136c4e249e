"""The scoring process: JSON lines in, JSON lines out. Started by `annotators.verifiers`.

A scorer may raise, loop or eat memory on a model's answer, so it runs here, under limits, and not
in the process that holds the lake. `python -m annotators.scorer`.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import sys
from typing import Any

from annotators.answers import find_answer, holds_answer, is_answer

MEMORY_BYTES = 4 * 2**30
UNDECIDED = "holds the reference amid other text"
MOST_OF_A_MISS = 0.99
"""Some scorers give a near miss 0.99999, or by rounding a hair more than 1."""
REASON = re.compile(r"[,;]?\s+(?:since|because|as|for)\b")


class Undecided(Exception):
    """The response is not right as it stands, and holds the right answer: a person would have to
    say which it means."""


def score_item(item: dict[str, Any]) -> float:
    """The scorer's number for one item (`verifier`, `entry` in JSON, `content`): 1.0 where the
    final answer is right, else less.

    Raises:
        Undecided: it is not, and the reference answer stands in the response all the same.
        Exception: whatever a scorer raises.
    """
    entry = json.loads(item["entry"])
    reference = entry.get("answer")
    if reference is not None and is_answer(item["content"], str(reference)):
        return 1.0  # whatever it says: an answer may be a sentence
    score = _score(item["verifier"], entry, item["content"])
    if score == 1.0:
        return score
    if reference is not None and holds_answer(item["content"], str(reference)):
        raise Undecided(UNDECIDED)
    return min(score, MOST_OF_A_MISS)


def _score(verifier: str, entry: dict[str, Any], content: str) -> float:
    if verifier == "math_verify":
        return score_math(content, entry["answer"])
    source, _, family = verifier.partition(":")
    if source != "reasoning_gym":
        raise ValueError(f"no verifier named {verifier}")
    import reasoning_gym

    return float(reasoning_gym.get_score_answer_fn(family)(find_answer(content), entry))


def score_math(content: str, answer: str) -> float:
    """1.0 where the mathematics of the response's final answer equals the reference, else 0.0. A
    reason after it ("158, since 3 times 4 is 12") is no part of it.

    math-verify's own time limits are off: they would turn a slow machine into a wrong answer.
    """
    import math_verify

    gold = math_verify.parse(answer, parsing_timeout=None)
    stated = REASON.split(find_answer(content))[0]
    found = math_verify.parse(stated, parsing_timeout=None) or math_verify.parse(
        content, parsing_timeout=None
    )
    if not gold:
        raise ValueError(f"math-verify cannot read the reference answer {answer!r}")
    return float(math_verify.verify(gold, found, timeout_seconds=None)) if found else 0.0


def main() -> None:
    """Score until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    out, sys.stdout = sys.stdout, sys.stderr  # a scorer that prints must not break the protocol
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"score": score_item(json.loads(line))}
        except Undecided as error:
            answer = {"error": str(error)}
        except Exception as error:  # any scorer's failure is one invalid judgment
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
