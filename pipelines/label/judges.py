"""From what a recipe says of its judges to the judges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from annotators.attributes import KINDS, AttributeWriter
from annotators.generative import GenerativeJudge, MetaFilter
from annotators.guidance import Guide
from annotators.guidelines import read_guidelines
from annotators.pairwise import PairwiseJudge
from annotators.ranking.judge import GroupRanker
from annotators.rubrics.judge import RubricJudge, load_rubric_templates
from annotators.rubrics.policy import PolicyJudge, load_policy, load_policy_template
from annotators.rubrics.rubric import load_rubric, load_rubrics
from annotators.rubrics.taxonomy import FailureChecker, load_failure_template, load_taxonomy
from annotators.talk import Judge
from annotators.templates import load_template
from annotators.yes_prob import YesProbJudge
from engines.assets import find_asset
from engines.embedder import MINILM, name_embedder
from engines.models import ResolvedModel, resolve_model
from schemas.opinions import GUIDED, JudgeSpec
from schemas.recipe import Recipe

MAX_TOKENS = {
    "pairwise": 256, "yes_prob": 256, "ranking": 256, "generative": 768, "rubric": 1536,
    "policy": 192,
}  # fmt: skip
SAMPLES = 4
SAMPLE_TEMPERATURE = 0.5


def load_judges(recipe: Recipe, base: Path | None) -> list[Judge]:
    """The judges of a recipe with their templates; one that it lists twice, by whatever names, is
    one judge.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken, and what a broken rubric,
            policy or taxonomy raises: each names the file.
    """
    judges = [
        LOADERS[spec.method](
            spec, resolve_model(recipe.models[spec.model]), base, _load_guide(recipe, spec, base)
        )
        for spec in recipe.judges
    ]
    return list({judge.annotator: judge for judge in judges}.values())


def load_writer(recipe: Recipe, base: Path | None) -> AttributeWriter | None:
    """Who writes the attributes of a recipe, if it wants them.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken
    """
    spec = recipe.attributes
    if spec is None:
        return None
    file = find_asset(spec.template, base)
    shows = ("prompt", "first", "second")
    template = load_template(file, shows, reference=None, kinds=KINDS)
    return AttributeWriter(resolve_model(recipe.models[spec.model]), template, spec.max_tokens)


def _load_guide(recipe: Recipe, spec: JudgeSpec, base: Path | None) -> Guide | None:
    """How a judge is guided: by examples where it wants them, by attributes where the recipe has
    pairs described, and with either by the guidelines that people have."""
    writer = load_writer(recipe, base)
    if spec.method not in GUIDED or (spec.examples is None and writer is None):
        return None
    file = find_asset("judges/guidance.jinja", base)
    return Guide(
        load_template(file, ("guideline", "about"), examples=[]),
        read_guidelines(),
        writer=writer.annotator if writer else None,
        examples=spec.examples or 0,
        tokens=spec.example_tokens,
        embedder=name_embedder(MINILM),
    )


def load_pairwise(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, guide: Guide | None = None
) -> PairwiseJudge:
    """See `annotators.pairwise`."""
    shows = ("prompt", "first", "second")
    file = find_asset(spec.template or "judges/pairwise.jinja", base)
    return PairwiseJudge(
        model,
        _load(file, shows, guide, reference=None, reason=spec.mode == "reason"),
        mode=spec.mode,
        k=spec.k or 1,
        temperature=spec.temperature or 0.0,
        orders=spec.orders,
        max_tokens=spec.max_tokens or MAX_TOKENS[spec.method],
        guide=guide,
    )


def _load(file: Path, shows: tuple[str, ...], guide: Guide | None, **others: Any) -> str:
    """The template of a judge, which must show the guidance that a guided one is given."""
    if guide is None:
        return load_template(file, shows, guidance=None, **others)
    return load_template(file, (*shows, "guidance"), **others)


def _load_yes_prob(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, guide: Guide | None
) -> Judge:
    shows = ("prompt", "candidate", "opponent")
    file = find_asset(spec.template or "judges/yes_prob.jinja", base)
    return YesProbJudge(
        model,
        _load(file, shows, guide, reference=None, reason=spec.mode == "reason", criteria=None),
        criteria=spec.criteria,
        orders=spec.orders,
        reason=spec.mode == "reason",
        max_tokens=spec.max_tokens or MAX_TOKENS[spec.method],
        guide=guide,
    )


def _load_generative(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, guide: Guide | None
) -> Judge:
    shows, known = ("prompt", "responses"), {"reference": None}
    file = find_asset(spec.template or "judges/generative.jinja", base)
    template = _load(file, shows, guide, **known, count=2, structured=model.spec.structured)
    meta = None
    if spec.meta:
        file = find_asset("judges/generative_meta.jinja", base)
        meta = MetaFilter(load_template(file, (*shows, "critique", "scores"), **known))
    temperature = SAMPLE_TEMPERATURE if spec.temperature is None else spec.temperature
    greedy = 2 if spec.orders == "both" else 1  # one an order: more would be the same again
    return GenerativeJudge(
        model,
        template,
        k=spec.k or (SAMPLES if temperature > 0 else greedy),
        temperature=temperature,
        max_tokens=spec.max_tokens or MAX_TOKENS[spec.method],
        orders=spec.orders,
        meta=meta,
        guide=guide,
    )


def _load_rubric(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, _: Guide | None
) -> Judge:
    own = (load_rubric(find_asset(spec.rubric, base)),) if spec.rubric else load_rubrics()
    return RubricJudge(
        model,
        load_rubric_templates(base),
        own,
        orders=spec.orders,
        adapt=spec.adapt,
        max_tokens=spec.max_tokens or MAX_TOKENS[spec.method],
    )


def _load_ranking(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, _: Guide | None
) -> Judge:
    return GroupRanker(load_pairwise(spec, model, base), spec.topology, spec.budget, spec.fit)


def _load_policy(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, _: Guide | None
) -> Judge:
    policy = load_policy(find_asset(spec.policy or "policies/harmful_advice.yaml", base))
    return PolicyJudge(
        model,
        load_policy_template(base),
        policy,
        max_tokens=spec.max_tokens or MAX_TOKENS[spec.method],
    )


def _load_failures(
    spec: JudgeSpec, model: ResolvedModel, base: Path | None, _: Guide | None
) -> Judge:
    taxonomy = load_taxonomy(find_asset(spec.taxonomy or "taxonomies/failures.yaml", base))
    return FailureChecker(model, load_failure_template(base), taxonomy)


LOADERS: dict[str, Callable[[JudgeSpec, ResolvedModel, Path | None, Guide | None], Judge]] = {
    "pairwise": load_pairwise,
    "yes_prob": _load_yes_prob,
    "generative": _load_generative,
    "rubric": _load_rubric,
    "ranking": _load_ranking,
    "policy": _load_policy,
    "failures": _load_failures,
}
