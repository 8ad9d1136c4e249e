"""The recipe: one YAML file that says what a data set is made of.

A recipe only declares. An unknown key is an error that names the nearest known one; a quota that
cannot add up is an error before anything is spent.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from schemas.cleaning import BiasSpec, DecontaminateSpec, QualitySpec
from schemas.errors import AssayError
from schemas.ids import make_id
from schemas.looping import LoopSpec
from schemas.mixing import MixSpec
from schemas.opinions import JudgeSpec, Reading, RewardModelSpec, SignalSpec
from schemas.part import EMBEDDED, Name, Part, Share
from schemas.sourcing import ImportSource, PromptSources


class RecipeError(AssayError, ValueError):
    """A recipe that cannot be used; the message names the file, the key and the mend."""


class ModelSpec(Part):
    """A model and where it answers.

    Without `url`, Assay starts vLLM itself (`embedded` is the 135M model that ships with it).
    `api_key_env` is the *name* of the environment variable that holds the key. `structured` false
    is for a server that refuses `structured_outputs` and `response_format`: answers are then parsed
    as they come.
    """

    model: str = EMBEDDED
    url: str | None = None
    revision: str | None = None
    api_key_env: str | None = None
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 32
    timeout_seconds: Annotated[float, Field(gt=0)] = 300
    structured: bool = True
    max_tries: Annotated[int, Field(ge=1, le=20)] = 5

    @field_validator("url")
    @classmethod
    def check_url(cls, url: str | None) -> str | None:
        if url is not None and not _is_web_address(url):
            raise ValueError(
                "not the address of a server; write it with http:// or https:// and the host, "
                "such as http://127.0.0.1:8000/v1, or leave url out for a local vLLM"
            )
        return url


class RolloutSpec(Part):
    """`n` samples per prompt from one model under one sampling setting."""

    model: Name = EMBEDDED
    n: Annotated[int, Field(ge=1, le=512)] = 2
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 192
    system: str | None = None


class AttributeSpec(Part):
    """What each pair is about and what its responses differ in, written by a model."""

    model: Name = EMBEDDED
    template: str = "judges/attributes.jinja"
    max_tokens: Annotated[int, Field(ge=64)] = 1024


class LabelSpec(Part):
    """How judgments become labels.

    `threshold` is the least probability (averaged over both orders) that a judge's label needs;
    below it a pair goes to people. `pairs_per_prompt` caps the candidate pairs of one prompt.
    `calibration` reads each judge's probability through the fit of its reliability card.
    `prototype` names one of `review.prototypes` whose labels are wanted, instead of everybody's.
    """

    policy: Literal[
        "verifier_first", "judge_only", "human_first", "imported",
        "dawid_skene", "gold_first", "weighted_vote", "unanimous", "gold_loop",
    ] = "verifier_first"  # fmt: skip
    threshold: Annotated[float, Field(gt=0.5, lt=1)] = 0.55
    pairs_per_prompt: Annotated[int, Field(ge=1)] = 4
    calibration: Literal["platt", "isotonic"] | None = None
    prototype: Annotated[str, Field(pattern=r"^prototype_[1-9][0-9]*$")] | None = None


class CutOffSpec(Part):
    """The length to which a trainer cuts prompt and response together: `tokens` of `tokenizer`
    (minilm, embedded, a checkpoint folder or a hub id)."""

    tokenizer: str = "minilm"
    tokens: Annotated[int, Field(ge=1)]


class CleanSpec(Part):
    """What cleaning removes. Lengths are in characters. With `paraphrase_similarity`, prompts whose
    vectors are that close are one (docs/cleaning.md says what to choose). With `cut_off`, pairs
    that differ only beyond a trainer's window; `quality` and `bias` are in `schemas.cleaning`."""

    near_duplicate_similarity: Annotated[float, Field(gt=0, le=1)] = 0.8
    paraphrase_similarity: Annotated[float, Field(gt=0, le=1)] | None = None
    min_response_chars: Annotated[int, Field(ge=0)] = 1
    max_response_chars: Annotated[int, Field(ge=1)] = 20000
    drop_truncated: bool = True
    drop_refusals: bool = False
    decontaminate: DecontaminateSpec | None = None
    cut_off: CutOffSpec | None = None
    quality: QualitySpec = QualitySpec()
    bias: BiasSpec = BiasSpec()


class SplitSpec(Part):
    """The share of prompt clusters that is held out, and what makes a cluster: prompts with `near`
    the same words, or `semantic`, those that say the same in others as well."""

    test: Share = 0.2
    clusters: Literal["near", "semantic"] = "near"


class PrototypeSpec(Part):
    """Kinds of annotators, fitted to what persons say: at most `most` are tried, each of at least
    `least` people. A pair on which two of them part (each as sure as `label.threshold` asks, of
    different sides) goes to people instead of getting everybody's label; `parted: label` keeps
    that label.
    """

    most: Annotated[int, Field(ge=2, le=32)] = 8
    least: Annotated[int, Field(ge=5)] = 5
    parted: Literal["review", "label"] = "review"


class ReviewSpec(Part):
    """What people are asked, and what their answers must show before they count as gold.

    `limit` is how many undecided pairs one run queues at most. A push fills `minutes` (of
    everybody together) with what is worth most, shows each task to `overlap` people, and mixes in
    a share `gold_rate` of tasks whose answer is known. `per_person` makes a project for each of
    `people` (emails of the desk), who then cannot see one another's work. `criteria` names the
    rubric whose criteria are rated. `show_predictions` shows what judges said, which anchors
    people. A batch passes its gates at `min_alpha` (Krippendorff) and `min_gold_accuracy`; a
    person below the latter is set aside. A release takes an item with `min_answers` of the
    `overlap` answers (all of them, where it is not given). `prototypes` has labels heed where
    people differ for good.
    """

    limit: Annotated[int, Field(ge=1)] = 100
    minutes: Annotated[float, Field(gt=0)] | None = None
    overlap: Annotated[int, Field(ge=1, le=50)] = 1
    gold_rate: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    per_person: bool = False
    people: list[str] = []
    criteria: str | None = None
    show_predictions: bool = False
    min_alpha: Annotated[float, Field(ge=-1, le=1)] = 0.4
    min_gold_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.7
    min_answers: Annotated[int, Field(ge=1, le=50)] | None = None
    prototypes: PrototypeSpec | None = None

    @model_validator(mode="after")
    def check_people(self) -> ReviewSpec:
        if self.min_answers is not None and self.min_answers > self.overlap:
            raise ValueError(
                f"min_answers is {self.min_answers}, and only {self.overlap} people are asked: "
                "lower it, or raise overlap"
            )
        if self.per_person and len(self.people) < self.overlap:
            raise ValueError(
                f"per_person shows each task to {self.overlap} of the people listed, and "
                f"{len(self.people)} are: list more under people"
            )
        return self


class TrainSpec(Part):
    """The small reward model. `base` is minilm, embedded, a path or a hub id.

    `learning_rate` is per optimiser step; `max_length` is in tokens and longer pairs are dropped.
    `labels` says what a label's probability is: the `margin` between the rewards, a `soft` label,
    or a part of the row's weight (`weighted`). `processes` share the `batch_size` pairs of a step
    (one process a GPU).
    """

    base: str = "minilm"
    epochs: Annotated[float, Field(gt=0)] = 3
    batch_size: Annotated[int, Field(ge=1)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    max_length: Annotated[int, Field(ge=8)] = 256
    labels: Reading = "margin"
    processes: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def check_processes(self) -> TrainSpec:
        if self.batch_size % self.processes:
            raise ValueError(
                f"{self.processes} processes cannot share the {self.batch_size} pairs of a step: "
                "make batch_size a multiple of processes"
            )
        return self


class Recipe(Part):
    """Everything a run needs to know; its hash stands in every version it makes."""

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    models: dict[Name, ModelSpec] = {EMBEDDED: ModelSpec()}
    prompts: PromptSources
    rollouts: list[RolloutSpec] = []
    signals: list[SignalSpec] = []
    reward_models: list[RewardModelSpec] = []
    attributes: AttributeSpec | None = None
    judges: list[JudgeSpec] = []
    loop: LoopSpec | None = None
    label: LabelSpec = LabelSpec()
    clean: CleanSpec = CleanSpec()
    split: SplitSpec = SplitSpec()
    mix: MixSpec = MixSpec()
    review: ReviewSpec = ReviewSpec()
    train: TrainSpec | None = TrainSpec()

    @model_validator(mode="after")
    def check_model_names(self) -> Recipe:
        named = {f"rollouts[{i}].model": spec.model for i, spec in enumerate(self.rollouts)}
        named |= {f"judges[{i}].model": spec.model for i, spec in enumerate(self.judges)}
        for i, signal in enumerate(self.signals):
            if signal.teacher and signal.reference:
                named[f"signals[{i}].teacher"] = signal.teacher
                named[f"signals[{i}].reference"] = signal.reference
        if self.attributes:
            named["attributes.model"] = self.attributes.model
        if self.prompts.open:
            named["prompts.open.model"] = self.prompts.open.model
        for key, name in named.items():
            if name not in self.models:
                near = difflib.get_close_matches(name, self.models, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{key} names {name!r}, which is not under models{hint}")
        return self

    @model_validator(mode="after")
    def check_prototype(self) -> Recipe:
        if self.label.prototype and self.review.prototypes is None:
            raise ValueError(
                f"label.prototype is {self.label.prototype}, and review has no prototypes: add "
                "`prototypes: {}` under review"
            )
        return self

    @model_validator(mode="after")
    def check_loop(self) -> Recipe:
        if self.label.policy == "gold_loop" and self.loop is None:
            raise ValueError(
                "label.policy is gold_loop, and the recipe has no loop: add `loop: {}`, or take "
                "another policy"
            )
        if self.loop:
            ranks = [f"judges[{i}]" for i, one in enumerate(self.judges) if one.method == "ranking"]
            if ranks:
                raise ValueError(
                    f"{', '.join(ranks)} has the method ranking: what it concludes holds for all "
                    "responses of a prompt together, and the loop asks about single pairs, so it "
                    "would be paid for and not heard; take the method pairwise, or leave loop out"
                )
        return self

    @property
    def recipe_hash(self) -> str:
        """Hash of everything the recipe says, defaults included."""
        return make_id("recipe", self.model_dump(mode="json"))


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        RecipeError: no such file, not UTF-8, not YAML, an unknown key (with the nearest known
            one), a wrong value, or a quota that cannot be met.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RecipeError(f"{file}: no such recipe; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read: {error}") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{file}: a recipe is a mapping of keys; see `assay run --help`")
    return parse_recipe(content, where=str(file))


def parse_recipe(content: dict[str, Any], where: str = "recipe") -> Recipe:
    """Check a recipe that is already a mapping. Raises RecipeError, as `load_recipe` does."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        lines = [f"{where}: {_explain(item)}" for item in error.errors()]
        raise RecipeError("\n".join(lines)) from error


def parse_import(path: str, **fields: Any) -> ImportSource:
    """Check the source of `assay import`. Raises RecipeError, as `load_recipe` does."""
    try:
        return ImportSource.model_validate({"path": path, **fields})
    except ValidationError as error:
        lines = [f"{path}: {_explain(item)}" for item in error.errors()]
        raise RecipeError("\n".join(lines)) from error


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        return False


def _explain(item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] != "extra_forbidden":
        return f"{path}: {item['msg'].removeprefix('Value error, ')}"
    known = _known_keys(item["loc"][:-1])
    near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"{path}: unknown key; {hint}"


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    part: type[Part] | None = Recipe
    for step in location:
        if part is not None and isinstance(step, str) and step in part.model_fields:
            part = _part_of(part.model_fields[step].annotation)
    return sorted(part.model_fields) if part is not None else []


def _part_of(annotation: Any) -> type[Part] | None:
    """The Part inside an annotation such as `list[RolloutSpec]` or `TrainSpec | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _part_of(inner)
        if found is not None:
            return found
    return None
