"""The scoring process: JSON lines in, JSON lines out. Started by `annotators.verifiers`.

A scorer may raise, loop or eat memory on a model's answer, so it runs here, under limits, and not
in the process that holds the lake. `python -m annotators.scorer`.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from typing import Any

from annotators.answers import find_answer

MEMORY_BYTES = 4 * 2**30


def score_item(item: dict[str, Any]) -> float:
    """The scorer's number for one item: `verifier`, `entry` (JSON) and `content`."""
    entry = json.loads(item["entry"])
    if item["verifier"] == "math_verify":
        return score_math(item["content"], entry["answer"])
    source, _, family = item["verifier"].partition(":")
    if source != "reasoning_gym":
        raise ValueError(f"no verifier named {item['verifier']}")
    import reasoning_gym

    score = reasoning_gym.get_score_answer_fn(family)(find_answer(item["content"]), entry)
    return float(score)


def score_math(content: str, answer: str) -> float:
    """1.0 where the mathematics of the response's final answer equals the reference, else 0.0."""
    import math_verify

    gold = math_verify.parse(answer)
    found = math_verify.parse(find_answer(content)) or math_verify.parse(content)
    if not gold:
        raise ValueError(f"math-verify cannot read the reference answer {answer!r}")
    return float(math_verify.verify(gold, found)) if found else 0.0


def main() -> None:
    """Score until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    out, sys.stdout = sys.stdout, sys.stderr  # a scorer that prints must not break the protocol
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"score": score_item(json.loads(line))}
        except Exception as error:  # any scorer's failure is one invalid judgment
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
