"""Prompts whose answers can be checked: generated, not asked for, so they cost no model call."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines.lake.catalogue import Lake
from pipelines.lake.decide import record_run
from pipelines.lake.run import Run, StageSummary
from pipelines.make.families import DIFFICULTIES, choose_families, make_arithmetic, make_task
from schemas.ids import make_id, make_prompt_id
from schemas.recipe import Recipe

STAGE = "synthesise"
GENERATOR_VERSION = 1
COMMIT_TASKS = 2_000


@dataclass(frozen=True)
class Slot:
    """A task that a recipe asks for, by its place in the generator."""

    request_id: str
    family: str
    difficulty: str
    index: int


def list_slots(recipe: Recipe) -> list[Slot]:
    """Every generated task of a recipe.

    Raises:
        pipelines.make.families.FamilyUnknown: the recipe names a family that is not there.
    """
    slots: list[Slot] = []
    spec = recipe.prompts.verifiable
    if spec:
        wanted = [d for d in DIFFICULTIES if d in spec.difficulties]
        for family in choose_families(spec.families):
            for difficulty in wanted:
                slots += [
                    _make_slot(recipe.seed, family, difficulty, i) for i in range(spec.per_cell)
                ]
    if recipe.prompts.arithmetic:
        count = recipe.prompts.arithmetic.count
        slots += [_make_slot(recipe.seed, "arithmetic", "easy", i) for i in range(count)]
    return slots


def synthesise(lake: Lake, run: Run, recipe: Recipe) -> StageSummary:
    """Generate the tasks that the lake does not have yet, with one `syntheses` row for each.

    A task that repeats an earlier one's prompt is dropped as `duplicate`.
    """
    started = time.monotonic()
    slots = list_slots(recipe)
    with lake.lease(STAGE, run):
        outcomes = find_outcomes(lake, [slot.request_id for slot in slots])
        todo = [slot for slot in slots if slot.request_id not in outcomes]
        for done, rows in enumerate(_batch(_generate(todo, recipe.seed)), start=1):
            prompts, syntheses = rows
            lake.append({"prompts": prompts, "syntheses": syntheses}, run=run, stage=STAGE)
            run.progress(STAGE, min(done * COMMIT_TASKS, len(todo)), len(todo))
        outcomes = find_outcomes(lake, [slot.request_id for slot in slots])
        summary = StageSummary(
            stage=STAGE,
            rows_in=len(slots),
            kept=len(set(outcomes.values())),
            dropped=_drop_duplicates(len(outcomes) - len(set(outcomes.values()))),
            seconds=time.monotonic() - started,
            extra={"made": len(todo)},
        )
        if todo:
            record_run(lake, run, summary)
    return summary


def find_outcomes(lake: Lake, request_ids: list[str]) -> dict[str, str]:
    """Request id -> prompt id of the syntheses that are in the lake and made a prompt."""
    wanted = pl.DataFrame({"request_id": request_ids}, schema={"request_id": pl.String})
    found = lake.query(
        "SELECT request_id, prompt_id FROM syntheses SEMI JOIN wanted USING (request_id) "
        "WHERE prompt_id IS NOT NULL",
        wanted=wanted,
    )
    return dict(found.iter_rows())


def _drop_duplicates(count: int) -> dict[str, int]:
    return {"duplicate": count} if count else {}


def _make_slot(seed: int, family: str, difficulty: str, index: int) -> Slot:
    request_id = make_id("task", GENERATOR_VERSION, family, difficulty, index, seed)
    return Slot(request_id, family, difficulty, index)


def _generate(slots: list[Slot], seed: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for slot in slots:
        prompt = make_task_prompt(slot, seed)
        yield prompt, _make_synthesis(slot, prompt)


def make_task_prompt(slot: Slot, seed: int) -> dict[str, Any]:
    """The row of `prompts` that a slot of a recipe with this seed makes."""
    if slot.family == "arithmetic":
        task = make_arithmetic(slot.index, seed)
    else:
        task = make_task(slot.family, slot.difficulty, slot.index, seed)
    messages = [{"role": "user", "content": task.question}]
    return {
        "prompt_id": make_prompt_id(messages),
        "messages": messages,
        "category": task.category,
        "language": "en",
        "source": "arithmetic" if slot.family == "arithmetic" else "verifiable",
        "licence": "Apache-2.0",
        "difficulty": task.difficulty,
        "answer": task.answer,
        "verifier": task.verifier,
        "verifier_data": task.entry,
        "origin_id": slot.request_id,
    }


def _make_synthesis(slot: Slot, prompt: dict[str, Any]) -> dict[str, Any]:
    return {
        "request_id": slot.request_id,
        "generator": prompt["verifier"].split(":")[0].replace("_", "-"),
        "prompt_id": prompt["prompt_id"],
        "outcome": "kept",
        "detail": json.dumps(
            {"family": slot.family, "difficulty": slot.difficulty, "index": slot.index}
        ),
    }


def _batch(
    rows: Iterator[tuple[dict[str, Any], dict[str, Any]]],
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    prompts: list[dict[str, Any]] = []
    syntheses: list[dict[str, Any]] = []
    for prompt, synthesis in rows:
        prompts.append(prompt)
        syntheses.append(synthesis)
        if len(prompts) == COMMIT_TASKS:
            yield prompts, syntheses
            prompts, syntheses = [], []
    if prompts:
        yield prompts, syntheses
