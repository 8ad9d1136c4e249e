"""Exam papers in the public layouts, a few invented rows each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def best_of_four(key: str, subset: str, prompt: str | None = None) -> Row:
    """A row of RewardBench 2."""
    return {
        "id": key, "prompt": prompt or f"Ask {key}?", "chosen": [f"right {key}"],
        "rejected": [f"wrong {i} {key}" for i in range(3)], "num_correct": 1, "num_incorrect": 3,
        "total_completions": 4, "subset": subset,
    }  # fmt: skip


def tie(part: str, question: int, right: int, wrong: int) -> Row:
    """A row of RewardBench 2's Ties."""
    return {
        "id": f"{part}:{question}", "prompt": f"Name a colour {part} {question}.",
        "chosen": [f"right {i}" for i in range(right)],
        "rejected": [f"wrong {i}" for i in range(wrong)], "num_correct": right,
        "num_incorrect": wrong, "total_completions": right + wrong, "subset": "Ties",
    }  # fmt: skip


def styled(key: str, domain: str) -> Row:
    """A row of RM-Bench."""
    return {
        "id": key, "prompt": f"Ask {key}?", "domain": domain,
        "chosen": [f"right {i}" for i in range(3)], "rejected": [f"wrong {i}" for i in range(3)],
    }  # fmt: skip


def judged(key: str, source: str, label: str) -> Row:
    """A row of JudgeBench."""
    return {
        "pair_id": key, "original_id": key, "source": source, "question": f"Ask {key}?",
        "response_model": "m", "response_A": "one", "response_B": "two", "label": label,
    }  # fmt: skip


def answer(text: str) -> Row:
    """An answer as RMB has them."""
    return {"llm_name": "m", "answer": text, "score": 1.0}


def rmb_pair(key: str, goal: str) -> Row:
    """A row of RMB's pairs."""
    return {
        "pair_uid": key, "category_path": f"Pairwise_set/{goal}/Chat/Talk",
        "conversation_input": [{"role": "user", "content": f"Ask {key}?"}],
        "chosen": answer("better"), "reject": answer("worse"),
    }  # fmt: skip


def rmb_best(key: str, goal: str) -> Row:
    """A row of RMB's best of n."""
    return {
        "bon_uid": key, "category_path": f"BoN_set/{goal}/Chat/Talk",
        "conversation_input": [{"role": "user", "content": f"Ask {key}?"}],
        "bon_best": answer("best"), "loser_list": [answer("worse"), answer("worst")],
    }  # fmt: skip


def preferred(key: str, winner: str) -> Row:
    """A row of PPE's people."""
    return {
        "question_id": key, "model_a": "m", "model_b": "n", "prompt": f"Ask {key}?",
        "response_1": "one", "response_2": "two", "winner": winner, "language": "English",
    }  # fmt: skip


def sampled(key: str, scores: Sequence[bool], pairs: list[list[int]] | None) -> Row:
    """A row of PPE's correctness."""
    texts = {f"response_{i + 1}": f"sample {i}" for i in range(len(scores))}
    row = {"question_id": key, "model_name": "m", "prompt": f"Ask {key}?", **texts,
           "scores": list(scores), "parsed_outputs": [""] * len(scores)}  # fmt: skip
    return row if pairs is None else row | {"sampled_conflict_pairs": pairs}


def told_apart(key: str, label: int) -> Row:
    """A row of LLMBar."""
    return {"input": f"Ask {key}?", "output_1": "one", "output_2": "two", "label": label}


def old(key: str, subset: str) -> Row:
    """A row of the first RewardBench."""
    return {
        "id": key, "prompt": f"Ask {key}?", "chosen": "right", "rejected": "wrong",
        "chosen_model": "m", "rejected_model": "n", "subset": subset,
    }  # fmt: skip


def write(file: Path, rows: Sequence[Row]) -> str:
    """The rows as JSONL."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)
