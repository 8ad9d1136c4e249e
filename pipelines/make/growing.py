"""Open prompts: grown by a model from seed prompts and a taxonomy, with their provenance.

The method is self-instruct's (Wang et al. 2023) at its smallest: a few seeds of one category are
shown as examples and the model writes one more.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult
from engines.models import ResolvedModel, open_endpoint, resolve_model
from pipelines.lake.calls import Call, run_calls
from pipelines.lake.catalogue import Lake
from pipelines.lake.run import Run, StageSummary
from schemas.errors import AssayError
from schemas.ids import hash_text, make_prompt_id, make_request_id, make_seed
from schemas.recipe import Recipe
from schemas.sourcing import OpenSource

STAGE = "grow"
EXAMPLES = 3
SHORTEST, LONGEST = 15, 600
LICENCE = "Apache-2.0"


class SeedsBroken(AssayError):
    """A seed file or the taxonomy cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Seed:
    """A seed prompt and its category. One that is a `paraphrase_of` another is no example to grow
    from; its row names the other as its parent."""

    category: str
    prompt: str
    paraphrase_of: str | None = None


def read_taxonomy() -> dict[str, str]:
    """Category -> what it holds, from `taxonomies/open.yaml`."""
    content = yaml.safe_load(find_asset("taxonomies/open.yaml").read_text(encoding="utf-8"))
    return {name: entry["describes"] for name, entry in content.items()}


def read_seeds(spec: OpenSource, base: Path | None) -> list[Seed]:
    """The seeds of the categories that a recipe wants.

    Raises:
        SeedsBroken: a line that is not `{"category", "prompt"}` in JSON, a `paraphrase_of` what is
            no prompt of the file, or a category without seeds or outside the taxonomy.
    """
    file = find_asset(spec.seeds, base)
    seeds: list[Seed] = []
    places: list[int] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            seed = Seed(row["category"], row["prompt"], row.get("paraphrase_of"))
            if not (isinstance(seed.prompt, str) and seed.prompt.strip()):
                raise ValueError("the prompt is no text")
            if not isinstance(seed.paraphrase_of, str | None):
                raise ValueError("paraphrase_of is no text")
            seeds.append(seed)
            places.append(number)
        except (ValueError, KeyError, TypeError) as error:
            raise SeedsBroken(
                f'{file}: line {number} is not {{"category": …, "prompt": …}} in JSON: {error!r}'
            ) from error
    originals = {seed.prompt for seed in seeds if seed.paraphrase_of is None}
    for number, seed in zip(places, seeds, strict=True):
        if seed.paraphrase_of is not None and seed.paraphrase_of not in originals:
            raise SeedsBroken(
                f"{file}: line {number}: paraphrase_of is {seed.paraphrase_of!r}, which is no "
                "prompt of this file, or itself a paraphrase; copy the prompt as it stands there"
            )
    known = read_taxonomy()
    wanted = list(known) if spec.categories == "all" else list(spec.categories)
    for category in wanted:
        if category not in known:
            raise SeedsBroken(
                f"prompts.open.categories names {category!r}; the taxonomy has: {', '.join(known)}"
            )
        if not any(seed.category == category and not seed.paraphrase_of for seed in seeds):
            raise SeedsBroken(f"{file} has no seed of category {category!r}; add one")
    return [seed for seed in seeds if seed.category in wanted]


def make_seed_rows(seeds: list[Seed]) -> list[dict[str, Any]]:
    """The seeds themselves as rows of `prompts` (source `seed`)."""
    return [
        {**_make_prompt(seed.prompt, seed.category, "seed", None), "parent_id": _find_parent(seed)}
        for seed in seeds
    ]


def make_grown_prompt(call: Call, text: str) -> dict[str, Any]:
    """The row of `prompts` of what a call has grown."""
    category, _ = call.context
    return _make_prompt(text, category, "grown", call.request.request_id)


def make_growing_calls(recipe: Recipe, base: Path | None) -> list[Call]:
    """One call for each grown prompt of the recipe, over the categories in turn."""
    spec = recipe.prompts.open
    if spec is None:
        return []
    model = resolve_model(recipe.models[spec.model])
    text = find_asset("prompts/grow.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(text)
    describes = read_taxonomy()
    by_category: dict[str, list[Seed]] = {}
    for seed in read_seeds(spec, base):
        if seed.paraphrase_of is None:
            by_category.setdefault(seed.category, []).append(seed)
    categories = list(by_category)
    calls = []
    for index in range(spec.count):
        category = categories[index % len(categories)]
        rng = random.Random(make_seed("grow", recipe.seed, category, index))
        seeds = by_category[category]
        shown = rng.sample(seeds, min(EXAMPLES, len(seeds)))
        content = template.render(
            describes=describes[category], examples=[seed.prompt for seed in shown]
        )
        calls.append(_make_call(recipe, spec, model, hash_text(text), category, shown, content,
                                index))  # fmt: skip
    return calls


def _make_call(
    recipe: Recipe,
    spec: OpenSource,
    model: ResolvedModel,
    template: str,
    category: str,
    shown: list[Seed],
    content: str,
    index: int,
) -> Call:
    messages = [{"role": "user", "content": content}]
    sampling = {
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "seed": make_seed("grow-sample", recipe.seed, category, index),
    }
    request_id = make_request_id(
        model=model.name,
        revision=model.revision,
        messages=messages,
        sampling=sampling,
        template=template,
    )
    request = ChatRequest(request_id, messages, sampling)
    return Call(request, context=(category, [seed.prompt for seed in shown]))


def grow_prompts(
    lake: Lake, run: Run, recipe: Recipe, base: Path | None, limit: int | None = None
) -> StageSummary:
    """Ask for the prompts that the lake does not have; unusable answers are kept as `unusable`
    syntheses with their reason, and never asked for again."""
    spec = recipe.prompts.open
    if spec is None:
        return StageSummary(STAGE, 0, 0)
    calls = make_growing_calls(recipe, base)
    if spec.include_seeds:
        rows = make_seed_rows(read_seeds(spec, base))
        lake.append({"prompts": rows}, run=run, stage=STAGE, message="seed prompts")
    model = resolve_model(recipe.models[spec.model])
    return run_calls(
        lake,
        run,
        stage=STAGE,
        start=lambda: open_endpoint(model, run.tell),
        wanted=calls,
        done_table="syntheses",
        to_rows=_make_to_rows(model),
        limit=limit,
    )


def _make_to_rows(
    model: ResolvedModel,
) -> Callable[[Call, ChatResult], dict[str, list[dict[str, Any]]]]:
    def to_rows(call: Call, result: ChatResult) -> dict[str, list[dict[str, Any]]]:
        category, examples = call.context
        text, reason = clean_prompt(result.text, result.finish_reason, examples)
        prompts = []
        if text is not None:
            prompts = [make_grown_prompt(call, text)]
        synthesis = {
            "request_id": result.request_id,
            "generator": model.policy,
            "prompt_id": prompts[0]["prompt_id"] if prompts else None,
            "outcome": "kept" if prompts else "unusable",
            "reason": reason,
            "raw": result.text,
            "detail": json.dumps({"category": category, "examples": examples}, ensure_ascii=False),
            "tokens_in": result.tokens_in,
            "tokens_out": result.tokens_out,
            "seconds": result.seconds,
        }
        return {"prompts": prompts, "syntheses": [synthesis]}

    return to_rows


def clean_prompt(
    raw: str, finish_reason: str | None, examples: list[str]
) -> tuple[str | None, str | None]:
    """The prompt in a model's answer, or None and the reason why it cannot be used."""
    lines = [line.strip() for line in raw.strip().splitlines() if line.strip()]
    if not lines:
        return None, "empty"
    text = re.sub(r"^(?:\d+[.)]|[-*•])\s*", "", lines[0]).strip().strip('"').strip()
    if len(lines) == 1 and finish_reason == "length":
        return None, "truncated"
    if len(text) < SHORTEST:
        return None, "too_short"
    if len(text) > LONGEST:
        return None, "too_long"
    if text in examples:
        return None, "copies_an_example"
    return text, None


def _find_parent(seed: Seed) -> str | None:
    if seed.paraphrase_of is None:
        return None
    return make_prompt_id([{"role": "user", "content": seed.paraphrase_of}])


def _make_prompt(text: str, category: str, source: str, origin_id: str | None) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "prompt_id": make_prompt_id(messages),
        "messages": messages,
        "category": category,
        "language": "en",
        "source": source,
        "licence": LICENCE,
        "origin_id": origin_id,
    }
