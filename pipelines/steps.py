"""The stages by name, in the order a pair travels: what the flow and the command line run.

A step takes a `Work` and gives a summary; it finds out by itself what is left to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engines.assets import AssetMissing, find_asset
from pipelines.clean.decontaminate import decontaminate_prompts, decontaminate_responses
from pipelines.clean.dedup import dedup_prompts
from pipelines.clean.filters import filter_pairs
from pipelines.clean.matching import match_lengths
from pipelines.clean.mix import mix_pairs
from pipelines.clean.quality import STAGES, apply_rules, find_rules, frame_pairs
from pipelines.clean.repeats import drop_repeats
from pipelines.clean.responses import filter_responses
from pipelines.clean.rules.table import Kind
from pipelines.clean.splits import split_prompts
from pipelines.clean.weighing import weigh_pairs
from pipelines.label.describing import describe_pairs
from pipelines.label.judging import judge_pairs
from pipelines.label.labelling import LOOP, label_pairs
from pipelines.label.loop.iterating import run_loop
from pipelines.label.loop.recycling import recycle_pairs
from pipelines.label.people.prototyping import fit_people
from pipelines.label.people.queueing import queue_reviews
from pipelines.label.signalling import run_signals
from pipelines.label.verifying import verify
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.importing import import_pool
from pipelines.lake.run import Run, StageSummary, merge_counts, new_run
from pipelines.make.growing import grow_prompts
from pipelines.make.rollouts import roll_out
from pipelines.make.synthesis import synthesise
from pipelines.recipes import find_stored
from pipelines.ship.annotating import annotate_pairs
from pipelines.ship.publish import Published, Unsettled, publish_version
from pipelines.view import View
from schemas.recipe import Recipe
from schemas.sourcing import ImportSource


@dataclass(frozen=True)
class Work:
    """An open lake, this run, the recipe, and the folder its own files lie beside."""

    lake: Lake
    run: Run
    recipe: Recipe
    base: Path | None

    _seen: dict[int, View] = field(default_factory=dict, repr=False)

    def look(self) -> View:
        """The recipe's view of the lake as it is now; the same one while nothing was written."""
        return self._look_at(self.lake.snapshot())

    def carry_over(self, step: str) -> None:
        """After a step has written, keep the frames that lie before what it can change."""
        old = next(iter(self._seen.values()), None)
        new = self._look_at(self.lake.snapshot())
        if old is not None and new is not old:
            kept = FRAMES[: FRAMES.index(FIRST_CHANGED[step])]
            new.__dict__.update({name: old.__dict__[name] for name in kept if name in old.__dict__})

    def _look_at(self, snapshot: int) -> View:
        if snapshot not in self._seen:
            self._seen.clear()
            self._seen[snapshot] = View(self.lake, self.recipe, self.base)
        return self._seen[snapshot]


def _import_pools(work: Work, limit: int | None) -> StageSummary:
    parts = [
        import_pool(work.lake, work.run, _place(source, work.base), work.base)
        for source in work.recipe.prompts.imports
    ]
    return StageSummary(
        "import",
        rows_in=sum(part.rows_in for part in parts),
        kept=sum(part.kept for part in parts),
        dropped=merge_counts(part.dropped for part in parts),
        quarantined=merge_counts(part.quarantined for part in parts),
        seconds=sum(part.seconds for part in parts),
    )


def _place(source: ImportSource, base: Path | None) -> ImportSource:
    """The source with the path of a pool that ships with Assay filled in."""
    try:
        file = find_asset(source.path, base).absolute()
        return source.model_copy(update={"path": str(file)})
    except AssetMissing:
        return source  # a folder, a hub name, or a missing file: the importer says which


def _grow(work: Work, limit: int | None) -> StageSummary:
    return grow_prompts(work.lake, work.run, work.recipe, work.base, limit)


def _roll_out(work: Work, limit: int | None) -> StageSummary:
    return roll_out(work.lake, work.run, work.recipe, work.look().prompts, limit)


def _judge(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    if work.recipe.loop:
        return run_loop(work.lake, work.run, view, limit)
    return judge_pairs(
        work.lake, work.run, work.recipe, work.base, view.prompts, view.pairs, view.rollouts, limit
    )


def _annotate(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return annotate_pairs(work.lake, work.run, work.recipe, view.prompts, view.pairs, view.rollouts)


def _describe(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return describe_pairs(
        work.lake, work.run, work.recipe, work.base, view.prompts, view.pairs, view.rollouts, limit
    )


def _drop_repeats(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return drop_repeats(work.lake, work.run, view.prompts, view.usable_rollouts)


def _verify(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return verify(work.lake, work.run, view.prompts, view.rollouts)


def _signal(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return run_signals(work.lake, work.run, work.recipe, view.prompts, view.rollouts, limit)


def _decontaminate(work: Work, limit: int | None) -> StageSummary:
    distinct = work.look().distinct
    if work.recipe.clean.decontaminate is None:
        return StageSummary("decontaminate", len(distinct), len(distinct))
    return decontaminate_prompts(work.lake, work.run, work.recipe, work.base, distinct)


def _decontaminate_responses(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    if work.recipe.clean.decontaminate is None:
        count = view.whole_rollouts["response_id"].n_unique()
        return StageSummary("decontaminate_responses", count, count)
    return decontaminate_responses(
        work.lake, work.run, work.recipe, work.base, view.whole_rollouts, view.prompts
    )


def _fit_people(work: Work, limit: int | None) -> StageSummary:
    if not is_wanted(work.recipe, "prototypes"):
        return StageSummary("prototypes", rows_in=0, kept=0)
    view = work.look()
    return fit_people(work.lake, work.run, work.recipe, view.voices, view.pairs)


def _recycle(work: Work, limit: int | None) -> StageSummary:
    if not is_wanted(work.recipe, "recycle"):
        return StageSummary("recycle", rows_in=0, kept=0)
    return recycle_pairs(work.lake, work.run, work.recipe, work.look().evidence)


def _label(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return label_pairs(work.lake, work.run, work.recipe, view.labels, view.tastes, view.read)


def _filter(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return filter_pairs(
        work.lake, work.run, view.labelled, view.prompts, view.rollouts, work.recipe.clean.cut_off
    )


def _check(kind: Kind) -> Callable[[Work, int | None], StageSummary]:
    return lambda work, _: apply_rules(
        work.lake, work.run, work.recipe, kind, work.look().frame(kind)
    )


def _match(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return match_lengths(work.lake, work.run, work.recipe, frame_pairs(view.mixed, view.rollouts))


def _weigh(work: Work, limit: int | None) -> StageSummary:
    view = work.look()
    return weigh_pairs(work.lake, work.run, work.recipe, view.matched, view.rollouts)


STEPS: dict[str, Callable[[Work, int | None], StageSummary]] = {
    "import": _import_pools,
    "synthesise": lambda w, _: synthesise(w.lake, w.run, w.recipe),
    "grow": _grow,
    "dedup": lambda w, _: dedup_prompts(w.lake, w.run, w.recipe, w.look().pool),
    "decontaminate": _decontaminate,
    "split": lambda w, _: split_prompts(w.lake, w.run, w.recipe, w.look().uncontaminated),
    "quality_prompts": _check("prompt"),
    "rollouts": _roll_out,
    "filter_responses": lambda w, _: filter_responses(
        w.lake, w.run, w.recipe, w.look().all_rollouts
    ),
    "decontaminate_responses": _decontaminate_responses,
    "quality_responses": _check("response"),
    "repeats": _drop_repeats,
    "verify": _verify,
    "signals": _signal,
    "attributes": _describe,
    "judge": _judge,
    "annotate": _annotate,
    "prototypes": _fit_people,
    "recycle": _recycle,
    "label": _label,
    "review_queue": lambda w, _: queue_reviews(w.lake, w.run, w.look()),
    "filter": _filter,
    "quality_pairs": _check("pair"),
    "mix": lambda w, _: mix_pairs(w.lake, w.run, w.recipe, w.look().mixable),
    "match": _match,
    "weigh": _weigh,
}
FRAMES = (
    "pool", "distinct", "uncontaminated", "assigned", "prompts", "all_rollouts", "whole_rollouts",
    "clear_rollouts", "usable_rollouts", "rollouts", "variants", "pairs", "evidence", "read",
    "labels", "labelled", "unrepeated", "clean", "mixable", "mixed", "matched", "weighted",
)  # fmt: skip
FIRST_CHANGED = {
    "import": "pool",
    "synthesise": "pool",
    "grow": "pool",
    "dedup": "distinct",
    "decontaminate": "uncontaminated",
    "split": "assigned",
    "quality_prompts": "prompts",
    "rollouts": "all_rollouts",
    "filter_responses": "whole_rollouts",
    "decontaminate_responses": "clear_rollouts",
    "quality_responses": "usable_rollouts",
    "repeats": "rollouts",
    "verify": "pairs",
    "signals": "evidence",
    "attributes": "evidence",
    "judge": "evidence",
    "annotate": "evidence",
    "prototypes": "labels",
    "recycle": "read",
    "label": "labels",
    "review_queue": "labels",
    "filter": "unrepeated",
    "quality_pairs": "clean",
    "mix": "mixed",
    "match": "matched",
    "weigh": "weighted",
}
SETTLING_TRIES = 3
CALL_STEPS = ("grow", "rollouts", "signals", "attributes", "judge")
SETTLING_STEPS = (
    "dedup", "decontaminate", "split", "quality_prompts", "filter_responses",
    "decontaminate_responses", "quality_responses", "repeats", "verify", "prototypes", "recycle",
    "label", "review_queue", "filter", "quality_pairs", "mix", "match", "weigh",
)  # fmt: skip
"""What follows from the recipe and the lake as it is: no new prompt, no model call."""
DECONTAMINATING = ("decontaminate", "decontaminate_responses")
"""Steps that do nothing for a recipe that names no evaluation set."""


def is_wanted(recipe: Recipe, step: str) -> bool:
    """Whether the recipe has anything for a step to do."""
    prompts = recipe.prompts
    return {
        "import": bool(prompts.imports),
        "synthesise": bool(prompts.verifiable or prompts.arithmetic),
        "grow": prompts.open is not None,
        "signals": bool(recipe.signals),
        "attributes": recipe.attributes is not None and recipe.loop is None,  # the loop has its own
        "judge": bool(recipe.judges) or (recipe.loop is not None and recipe.loop.minutes > 0),
        "annotate": bool(recipe.reward_models),
        "prototypes": recipe.review.prototypes is not None,
        "recycle": recipe.label.policy == LOOP,
        **dict.fromkeys(DECONTAMINATING, recipe.clean.decontaminate is not None),
        "match": recipe.clean.bias.match_length,
        "weigh": recipe.mix.weigh is not None,
        **{stage: bool(find_rules(recipe.clean.quality, kind)) for kind, stage in STAGES.items()},
    }.get(step, True)


def settle(work: Work, until: str = SETTLING_STEPS[-1]) -> list[StageSummary]:
    """Run what follows from the recipe and the lake as it is, up to one of `SETTLING_STEPS`."""
    steps = SETTLING_STEPS[: SETTLING_STEPS.index(until) + 1]
    return [run_step(work, step) for step in steps if is_wanted(work.recipe, step)]


def run_step(work: Work, name: str, limit: int | None = None) -> StageSummary:
    """Run one step; `limit` is the most model calls of a step in `CALL_STEPS`."""
    summary = STEPS[name](work, limit)
    work.carry_over(name)
    return summary


def publish_settled(work: Work, stages: Sequence[StageSummary]) -> Published:
    """Publish what the work sees; where somebody wrote since its stages ran (a pull of reviews,
    say), what follows from the lake is worked out again first.

    Raises:
        pipelines.ship.publish.NothingToPublish, Unsettled: see `publish_version`.
    """
    for _ in range(SETTLING_TRIES):
        try:
            return publish_version(work.lake, work.run, work.look(), stages)
        except Unsettled:
            again = {summary.stage: summary for summary in settle(work)}
            stages = [again.get(summary.stage, summary) for summary in stages]
    return publish_version(work.lake, work.run, work.look(), stages)


@contextmanager
def open_work(
    lake_url: str, recipe: Recipe, base: Path | None, run: Run | None = None
) -> Iterator[Work]:
    """Open the lake for a recipe, which is remembered there by name with its folder."""
    run = run or new_run(recipe)
    with open_lake(lake_url) as lake:
        content = {"recipe": recipe.model_dump(mode="json"), "base": str(base) if base else None}
        text = json.dumps(content, ensure_ascii=False)
        if find_stored(lake, recipe.name) != text:
            key = f"recipe:{recipe.name}:{run.run_id}"
            lake.append({"lake_meta": [{"key": key, "value": text}]}, run=run, stage="recipe")
        yield Work(lake, run, recipe, base)
