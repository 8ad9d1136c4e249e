"""The curate flow: every stage in order, chunk by chunk. Ordering and retries, no data work.

A task is a chunk of a stage, never a row, and no frame travels through Prefect: a chunk finds its
work in the lake and leaves it there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, tags, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from engines.chat import ServerUnreachable
from engines.services import find_service, release_services
from flows.console import Console
from flows.orphans import close_orphans, name_this_process
from pipelines.lake.run import StageSummary, merge_counts, new_run
from pipelines.recipes import find_recipe
from pipelines.ship.exam import render_exam, take_exam
from pipelines.ship.export import export_version, holds_version
from pipelines.ship.publish import Published
from pipelines.ship.report import build_report
from pipelines.ship.train import train_model
from pipelines.steps import CALL_STEPS, STEPS, Work, is_wanted, open_work, publish_settled, run_step
from schemas.recipe import Recipe, parse_recipe

CHUNK_CALLS = 5_000


@dataclass(frozen=True)
class Outputs:
    """Where a run left things."""

    name: str
    version: int
    fingerprint: str
    rows: int
    new: bool
    model_calls: int
    lake: str
    export: str
    model: str | None
    exam: dict[str, Any] | None
    report: str
    stages: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The object that `assay run --json` prints."""
        return {**asdict(self), "version": f"{self.name}@{self.version}"}

    def describe(self) -> str:
        """The last words of `assay run`."""
        state = "published" if self.new else "unchanged"
        lines = [
            f"version  {self.name}@{self.version} ({self.rows} pairs, {state}, "
            f"fingerprint {self.fingerprint[:12]})",
            f"lake     {self.lake}",
            f"export   {self.export}",
            f"model    {self.model or 'none (the recipe trains none)'}",
            f"report   {self.report}",
            f"calls    {self.model_calls} model calls in this run",
        ]
        if self.exam:
            lines.append(render_exam(self.exam))
        return "\n".join(lines)


def _is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Only a broken connection is tried again (a local server that died is started again)."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, ServerUnreachable) and error.transient


@flow(name="curate", log_prints=False, persist_result=False, validate_parameters=False)
def curate(
    recipe: str | dict[str, Any],
    lake: str = "lake",
    out: str = "out",
    base: str | None = None,
    retry_failed: bool = False,
) -> dict[str, Any]:
    """Run a recipe from prompts to report. What is in the lake is not done again.

    Args:
        recipe: a recipe file, the name of a shipped recipe, or a recipe as a mapping.
        lake: a lake as `--lake` takes it.
        out: the folder for the export, the model and the report.
        base: the folder that the files named by a recipe given as a mapping lie beside.
        retry_failed: try again the calls that failed for good.
    """
    if isinstance(recipe, dict):
        parsed, folder = parse_recipe(recipe), Path(base) if base else None
    else:
        parsed, folder = find_recipe(recipe, lake)
    console = _CONSOLE or Console()
    run = new_run(parsed, retry_failed=retry_failed, tell=console.tell, progress=console.progress)
    with open_work(lake, parsed, folder, run) as work:
        try:
            outputs = _travel(work, lake, Path(out), console)
        finally:
            release_services(("vllm",))
        _compact(work)
    return asdict(outputs)


_CONSOLE: Console | None = None


@contextmanager
def _speaking(console: Console) -> Any:
    """The console of the flow that this process runs (it must not travel as a parameter)."""
    global _CONSOLE
    before, _CONSOLE = _CONSOLE, console
    try:
        yield
    finally:
        _CONSOLE = before


def curate_here(
    recipe: Recipe,
    base: Path | None,
    lake: str,
    out: Path,
    *,
    retry_failed: bool,
    console: Console,
    api_url: str,
) -> Outputs:
    """Run the flow in this process against the Prefect server at `api_url`, with a console to
    speak to. A server that lives no longer than the run needs no heartbeats, whose thread a
    flow's end waits for."""
    borrowed = "PREFECT_API_URL" not in os.environ
    settings: dict[Any, Any] = {PREFECT_API_URL: api_url}
    if borrowed:
        settings[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
    else:
        close_orphans(api_url)
    with _speaking(console), temporary_settings(settings), tags(name_this_process()):
        result = curate(
            recipe.model_dump(mode="json"),
            lake=lake,
            out=str(out),
            base=str(base) if base else None,
            retry_failed=retry_failed,
        )
    return Outputs(**result)


def _travel(work: Work, lake: str, out: Path, console: Console) -> Outputs:
    summaries: list[StageSummary] = []
    for name in STEPS:
        if not is_wanted(work.recipe, name):
            continue
        summary = _run_in_chunks(work, name)
        summaries.append(summary)
        console.summary(summary)
    release_services(("vllm",))
    version = _as_task("publish", lambda: publish_settled(work, summaries))
    console.tell(f"{version.name}@{version.version}: {version.rows} pairs")
    export, model, exam, report = _ship(work, version, out)
    return Outputs(
        name=version.name,
        version=version.version,
        fingerprint=version.fingerprint,
        rows=version.rows,
        new=version.new,
        model_calls=sum(summary.extra.get("calls", 0) for summary in summaries),
        lake=lake,
        export=str(export),
        model=model,
        exam=exam,
        report=str(report),
        stages=[summary.to_json() for summary in summaries],
    )


def _ship(
    work: Work, version: Published, out: Path
) -> tuple[Path, str | None, dict[str, Any] | None, Path]:
    label = f"{version.name}@{version.version}"
    export = out / "export" / label
    if not holds_version(export, version):
        _as_task("export", lambda: export_version(work.lake, version, export))
    model, exam = None, None
    spec = work.recipe.train
    if spec and version.metrics["splits"].get("train"):
        trained = _as_task("train", lambda: train_model(
            work.lake, work.run, version, spec, work.recipe.seed, out / "models"))  # fmt: skip
        model = str(trained.path)
        exam = _as_task("exam", lambda: take_exam(work.lake, work.run, trained))
    page = out / "report" / f"{label}.html"
    report = _as_task("report", lambda: build_report(
        work.lake, version.name, version.version, out=page))  # fmt: skip
    _leave_artifacts(label, version, report, exam)
    return export, model, exam, report


def _run_in_chunks(work: Work, name: str) -> StageSummary:
    """One task for a bulk stage; one for each chunk of calls."""
    if name not in CALL_STEPS:
        return _as_task(name, lambda: run_step(work, name))
    made = {"calls": 0, "tokens_in": 0, "tokens_out": 0}  # and what a stage makes without calls
    failures: dict[str, int] = {}
    seconds = 0.0
    while True:
        part = _as_task(name, lambda: run_step(work, name, CHUNK_CALLS))
        seconds += part.seconds
        for key in (*made, "made"):
            if key in made or key in part.extra:
                made[key] = made.get(key, 0) + part.extra.get(key, 0)
        failures = merge_counts([failures, part.extra.get("failures", {})])
        if not part.extra.get("remaining"):
            break
    return StageSummary(
        stage=name,
        rows_in=part.rows_in,
        kept=part.kept,
        dropped=part.dropped,
        seconds=seconds,
        extra={**part.extra, **made, "failures": failures},
    )


def _as_task(name: str, work: Callable[[], Any]) -> Any:
    """Run `work` as a Prefect task of that name."""
    step = task(
        work,
        name=name,
        task_run_name=name,
        retries=2,
        retry_delay_seconds=[2, 10],
        retry_condition_fn=_is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    return step()


def _compact(work: Work) -> None:
    merged = work.lake.compact()
    if merged > 0:
        work.run.tell(f"compaction: {merged} small files merged away")


def _leave_artifacts(
    label: str, version: Published, report: Path, exam: dict[str, Any] | None
) -> None:
    """Link the report from the flow run; only a server that stays has somebody to show it to."""
    server = find_service("prefect")
    if server and server.owner == "run":
        return
    create_link_artifact(
        link=report.absolute().as_uri(), link_text=f"report of {label}", key="assay-report"
    )
    text = f"# {label}\n\n{version.rows} pairs, fingerprint `{version.fingerprint}`\n"
    if exam:
        text += f"\n```\n{render_exam(exam)}\n```\n"
    create_markdown_artifact(markdown=text, key="assay-version")
