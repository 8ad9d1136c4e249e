"""What the tests of importing share: a row of every layout, and pools made of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.lake.catalogue import Lake
from pipelines.lake.importing import import_pool
from pipelines.lake.layouts import ASSISTANT, HUMAN
from pipelines.lake.run import StageSummary, new_run
from schemas.sourcing import ImportSource

TABLES = ("prompts", "responses", "rollouts", "judgments", "quarantine", "imports")

USER = {"role": "user", "content": "Why?"}
TRL = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
HH = {
    "chosen": f"{HUMAN} Why?{ASSISTANT} Hm.{HUMAN} Well?{ASSISTANT} Because.",
    "rejected": f"{HUMAN} Why?{ASSISTANT} Hm.{HUMAN} Well?{ASSISTANT} No.",
}
IMPLICIT = {
    "chosen": [USER, {"role": "assistant", "content": "Because."}],
    "rejected": [USER, {"role": "assistant", "content": "No."}],
}
ULTRA = {
    "instruction": "Why?",
    "completions": [
        {"model": "m1", "response": "No.", "overall_score": 4.0},
        {"model": "m2", "response": "Because.", "overall_score": 8.0},
        {"model": "m3", "response": "So.", "overall_score": "8"},
        {"model": "m4", "response": "Hm.", "overall_score": None},
    ],
}
PANDALM = {
    "idx": 0,
    "cmp_key": "left-7b_right-6.7B",
    "instruction": "Rewrite.",
    "input": "A text.",
    "response1": "One.",
    "response2": "Two.",
    "annotator1": 1,
    "annotator2": 2,
    "annotator3": 0,
    "judge_gpt35": "garbage",
    "judge_pandalm7b": 2,
}
FINEGRAINED = {
    "question": "Why?",
    "passages": [["Title", "One.", "Two."], ["Other", "Three."]],
    "prediction 1": "a",
    "prediction 2": "b",
    "prediction 3": "c",
    "prediction 4": "d",
    "preference": [1, 2, 0, 1, 1, 9],
    "feedback": {"errors": []},
}
OPINION = {
    "annotator": "ann",
    "kind": "human",
    "prompt": "Why?",
    "response_a": "Because.",
    "response_b": "No.",
    "verdict": "A",
}
EXAMPLES = {
    "trl": TRL,
    "trl_implicit": IMPLICIT,
    "hh": HH,
    "ultrafeedback": ULTRA,
    "pandalm": PANDALM,
    "finegrained": FINEGRAINED,
    "judgments": OPINION,
}


def record(**changes: Any) -> dict[str, Any]:
    """`OPINION` with other fields. A number takes the verdict's place, `...` takes a key away."""
    said = {"p_a", "score_a", "score_b"} & changes.keys()
    kept = {k: v for k, v in OPINION.items() if k != "verdict" or not said}
    return {k: v for k, v in {**kept, **changes}.items() if v is not ...}


def write_jsonl(file: Path, *rows: Any) -> Path:
    file.write_bytes(
        b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows)
    )
    return file


def bring(lake: Lake, file: Path | str, name: str = "pool", **source: Any) -> StageSummary:
    return import_pool(lake, new_run(), ImportSource(path=str(file), name=name, **source))


def count(lake: Lake, table: str) -> int:
    return lake.query(f"SELECT count(*) AS n FROM {table}")["n"][0]
