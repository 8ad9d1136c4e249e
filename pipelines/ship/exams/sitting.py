"""One sitting: from what somebody types to an examined version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run
from pipelines.ship.covering import read_scopes
from pipelines.ship.exam import ModelGone, ModelUnknown, find_model, render_exam, take_exam
from pipelines.ship.exams.examination import Examination
from pipelines.ship.exams.gating import pass_gate
from pipelines.ship.exams.reading import read_exam_set
from pipelines.ship.exams.taking import take_exams
from pipelines.ship.exams.telling import gather, render
from pipelines.ship.publish import VersionMissing, find_version
from pipelines.ship.train import find_models, find_models_of


def open_examination(lake: Lake, run: Run, reference: str) -> Examination:
    """What a model's id (or its first digits) or NAME[@V] means: a version, with the model named or
    else its newest, one whose folder still holds it before others, if it has one. NAME is the
    newest version.

    Raises:
        pipelines.ship.exam.ModelUnknown: it names neither a model nor a version, or several models.
    """
    named = find_models(lake, "starts_with(model_id, ?)", [reference])
    if named:
        model = find_model(lake, reference)
        version = find_version(lake, f"{model.name}@{model.version}")
    else:
        try:
            version = find_version(lake, reference)
        except VersionMissing as error:
            raise ModelUnknown(f"{error}; and no trained model has an id like that") from error
        models = find_models_of(lake, version)
        model = next((m for m in models if m.is_there), models[0] if models else None)
    _, recipe = read_scopes(lake, version.name, version.version)
    return Examination(lake, run, version, int(recipe.get("seed") or 0), model)


def sit(
    lake: Lake, run: Run, reference: str, sets: Sequence[str], gate: bool
) -> tuple[dict[str, Any], str]:
    """Examine what `reference` means, on its held-out pairs and on outside sets.

    Args:
        sets: files or data sets, see `pipelines.ship.exams.reading.read_exam_set`.
        gate: hold the version against the one before it. That takes no model: where the model's
            folder is gone, the version is examined without it, and a warning says so.

    Returns:
        The object for `--json` (see `pipelines.ship.exams.telling.gather`; of a model also what
        `pipelines.ship.exam.take_exam` says), and the same as text.

    Raises:
        ModelUnknown, pipelines.ship.exam.ModelGone,
        pipelines.ship.exams.examination.TooLittleTaught,
        pipelines.ship.exams.reading.ExamUnusable
    """
    exam = open_examination(lake, run, reference)
    outside = [read_exam_set(path) for path in dict.fromkeys(sets)]
    gone: list[str] = []
    try:
        base = take_exam(lake, run, exam.model) if exam.model else {}
        if exam.model and not exam.model.is_there and not outside and not gate:
            return base, render_exam(base)  # its folder is gone, and what it scored is kept
        results = take_exams(exam, outside)
    except ModelGone as error:
        if not gate:
            raise
        gone = [f"{error}; the gate needs no model, so this is the small probe alone"]
        exam, base = replace(exam, model=None), {}
        results = take_exams(exam, outside)
    verdict = pass_gate(exam, outside) if gate else None
    found = gather(exam, results, verdict)
    found["warnings"] = [*gone, *found["warnings"]]
    found |= {key: base[key] for key in ("exam_id", "score", "ci") if key in base}
    return found, render(found)
