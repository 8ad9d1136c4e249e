"""The names of trained reward models as annotators, and by which way of scoring they speak."""

from __future__ import annotations

SCORING_VERSION = 2
"""2 cuts the head of a prompt; 1 cut the end of all, and saw nothing of many responses."""
MODELS, SCORING_MARK = "reward_model:", f"@{SCORING_VERSION}"


def name_model(model_id: str) -> str:
    """`reward_model:ID@VERSION`."""
    return f"{MODELS}{model_id[:12]}{SCORING_MARK}"
