"""Who gives opinions in a recipe: judges, and signals that need no judge."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from schemas.part import EMBEDDED, Name, Part

Reading = Literal["margin", "soft", "weighted"]
"""What a reward model takes a label's probability for (see `annotators.label_reading`)."""


class JudgeSpec(Part):
    """A judge: a method and a model. `docs/judges.md` says what each method does and costs.

    `name` is what people call it; its opinions are known by the model and all of its settings.
    `template` replaces the method's own under `judges/`. `orders` other than `both` asks once a
    pair and is recorded as such. `k` counts samples; `max_tokens` is of an answer that is not one
    word. What is left out is the method's own choice. `mode` is of `pairwise` and `ranking` (and
    `reason` of `yes_prob`); `criteria` of `yes_prob`; `meta` of `generative`; `rubric` (a file, for
    every prompt; else those that ship, by category) and `adapt` of `rubric`; `topology`, `budget`
    (comparisons a prompt at most) and `fit` (least squares or Bradley-Terry) of `ranking`; `policy`
    and `taxonomy` are the files of `policy` and `failures`, which look at one response. `examples`
    are the pairs of gold in train that are shown with each pair, at most, the most similar ones, in
    at most `example_tokens` tokens together.
    `METHODS_OF` says it in full: a key that the method does not know is an error.
    """

    name: Name = "pairwise"
    model: Name = EMBEDDED
    method: Literal[
        "pairwise", "yes_prob", "generative", "rubric", "ranking", "policy", "failures"
    ] = "pairwise"
    template: str | None = None
    mode: Literal["choice", "vote", "reason"] = "choice"
    orders: Literal["both", "ab", "ba", "random"] = "both"
    k: Annotated[int, Field(ge=1, le=256)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=8)] | None = None
    criteria: str | None = None
    meta: bool = False
    rubric: str | None = None
    adapt: bool = True
    policy: str | None = None
    taxonomy: str | None = None
    topology: Literal["adaptive", "anchor", "round_robin", "swiss", "double", "seeded"] = "adaptive"
    budget: Annotated[int, Field(ge=1)] | None = None
    fit: Literal["lsq", "bt"] = "lsq"
    examples: Annotated[int, Field(ge=1, le=8)] | None = None
    example_tokens: Annotated[int, Field(ge=64)] = 2048

    @model_validator(mode="after")
    def check_settings(self) -> JudgeSpec:
        for key, methods in METHODS_OF.items():
            default = type(self).model_fields[key].default
            if getattr(self, key) != default and self.method not in methods:
                raise ValueError(
                    f"{key} is of the method {' and '.join(methods)}; the method is {self.method}: "
                    "leave it out"
                )
        if self.mode == "vote" and self.method == "yes_prob":
            raise ValueError("mode vote is of the method pairwise and ranking: leave it out")
        if self.mode == "vote" and not self.temperature:
            raise ValueError("mode vote needs a temperature above 0: k equal answers are one")
        if self.max_tokens and self.method in METHODS_OF["mode"] and self.mode != "reason":
            raise ValueError(
                f"max_tokens is of the mode reason; the mode is {self.mode}: leave it out"
            )
        if self.budget and self.topology != "adaptive":
            raise ValueError(
                f"budget is of the topology adaptive; the topology is {self.topology}: leave it out"
            )
        default = type(self).model_fields["example_tokens"].default
        if self.example_tokens != default and self.examples is None:
            raise ValueError("example_tokens is of examples: say how many, or leave it out")
        return self

    @model_validator(mode="after")
    def check_samples(self) -> JudgeSpec:
        generative = self.method == "generative"  # samples by itself, and shares k between orders
        shown = 2 if generative and self.orders == "both" else 1
        greedy = self.temperature == 0 or (self.temperature is None and not generative)
        if greedy and self.k is not None and self.k > shown:
            raise ValueError(
                f"k is {self.k} at temperature 0, where equal questions get equal answers; set a "
                "temperature above 0, or leave k out"
            )
        return self


GUIDED = ("pairwise", "yes_prob", "generative")
METHODS_OF = {
    "template": ("pairwise", "ranking", "yes_prob", "generative"),
    "orders": ("pairwise", "ranking", "yes_prob", "generative", "rubric"),
    "max_tokens": ("pairwise", "ranking", "yes_prob", "generative", "rubric", "policy"),
    "mode": ("pairwise", "ranking", "yes_prob"),
    "k": ("pairwise", "ranking", "generative"),
    "temperature": ("pairwise", "ranking", "generative"),
    "criteria": ("yes_prob",),
    "meta": ("generative",),
    "rubric": ("rubric",),
    "adapt": ("rubric",),
    "policy": ("policy",),
    "taxonomy": ("failures",),
    "topology": ("ranking",),
    "budget": ("ranking",),
    "fit": ("ranking",),
    "examples": GUIDED,
    "example_tokens": GUIDED,
}


class RewardModelSpec(Part):
    """A reward model that gives its opinion of every pair it did not learn from.

    It learned from the published `version`, NAME@V: as the `model` that `assay train` made of it,
    or as a `probe`, which is fitted when it is asked: one straight line, one with a hidden layer
    (`curved_probe`), or a crowd that says less where it differs (`probe_ensemble`). A model says
    nothing of the prompts it learned from; what a probe says of a pair comes from one that saw
    nothing of its prompt.
    """

    version: Annotated[str, Field(pattern=r"^[^@\s]+@[1-9][0-9]*$")]
    through: Literal["model", "probe", "curved_probe", "probe_ensemble"] = "model"


class SignalSpec(Part):
    """A cheap signal: opinions without a judge's prompt. `docs/judges.md` says what each one does.

    Of `goal`: the texts `goal` and `baseline`; `alpha`, how far what both have in common is left
    out of sight; the `embedder` (minilm or a hub id); and the `criterion`, where the goal is not
    quality as a whole. Of `lengths`: the `shape`; `limit`, the characters from which on `cosine`
    takes a response for cut off; `words`, the length of a run whose repeats `repetition` counts. Of
    `co_reward`: `tau`, the least share of the votes in either view. Of `policy_pairs`: `tolerance`,
    how much shorter one candidate may be, as a share of the longer. Of `implicit`: `teacher` and
    `reference`, names under `models`, and `scale`, its lambda.
    """

    method: Literal["goal", "lengths", "co_reward", "policy_pairs", "implicit"]
    goal: str | None = None
    baseline: str | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    embedder: Annotated[str, Field(min_length=1)] = "minilm"
    criterion: Annotated[str, Field(min_length=1)] | None = None
    shape: Literal["cosine", "linear", "repetition"] = "cosine"
    limit: Annotated[int, Field(ge=1)] | None = None
    words: Annotated[int, Field(ge=1)] | None = None
    tau: Annotated[float, Field(ge=0, le=1)] = 0.5
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.1
    teacher: Name | None = None
    reference: Name | None = None
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def check_settings(self) -> SignalSpec:
        of_lengths = {"limit": "cosine", "words": "repetition"}
        for method, keys in SIGNAL_KEYS.items():
            for key in keys:
                default = type(self).model_fields[key].default
                if getattr(self, key) != default and self.method != method:
                    raise ValueError(
                        f"{key} is of the method {method}; the method is {self.method}"
                    )
        for key, shape in of_lengths.items():
            given = getattr(self, key) is not None
            if self.method == "lengths" and given != (self.shape == shape):
                verb = "is of" if given else "must be given for"
                raise ValueError(f"{key} {verb} the shape {shape}; the shape is {self.shape}")
        for key in NEEDED_KEYS.get(self.method, ()):
            if not (getattr(self, key) or "").strip():
                raise ValueError(f"the method {self.method} needs {key}")
        if self.method == "implicit" and self.teacher == self.reference:
            raise ValueError(
                f"teacher and reference are both {self.teacher!r}: every reward would be 0; name "
                "what the teacher was trained from as the reference"
            )
        return self

    def describe(self) -> dict[str, Any]:
        """The method with its own settings, those of others left out."""
        return self.model_dump(mode="json", include={"method", *SIGNAL_KEYS[self.method]})


SIGNAL_KEYS = {
    "goal": ("goal", "baseline", "alpha", "embedder", "criterion"),
    "lengths": ("shape", "limit", "words"),
    "co_reward": ("tau",),
    "policy_pairs": ("tolerance",),
    "implicit": ("teacher", "reference", "scale"),
}
NEEDED_KEYS = {"goal": ("goal", "baseline"), "implicit": ("teacher", "reference")}
