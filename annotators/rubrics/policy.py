"""Content moderation: does a response break a written policy, and under which version of it.

The policy's text, version and hash stand in every judgment, its name and version in the annotator's
name: a new version is another annotator, so its judgments are wanted anew, and those of the old one
are stale (`tabulate_policies`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from annotators.asking import Asked, ask, make_request
from annotators.deciding import make_decision, read_decision
from annotators.rubrics.rubric import STRICT, load_strictly
from annotators.talk import Item, Row, Talk, make_row, name_annotator, say_failure, together
from annotators.templates import hash_templates, load_template, render_prompt, render_template
from engines.assets import find_asset
from engines.models import ResolvedModel
from schemas.errors import AssayError
from schemas.ids import make_id

DECIDE = "Does the answer break the policy? Reply with Yes or No."
BREAKS, KEEPS = "breaks", "keeps"
KNOWN = ("policy", "version", "hash", "label")
POLICIES = {
    "policy": pl.String,
    "version": pl.Int64,
    "annotator": pl.String,
    "judged": pl.Int64,
    "broken": pl.Int64,
    "stale": pl.Boolean,
}


class PolicyError(AssayError, ValueError):
    """A policy that cannot be used; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Policy:
    """A written policy. `version` is raised with every change of `text`; the hash tells where that
    was forgotten."""

    name: str
    version: int
    text: str
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("text must say what the policy forbids")

    @property
    def hash(self) -> str:
        """Of name, version and text."""
        return make_id("policy", self.name, self.version, self.text)[:12]


def load_policy(file: Path) -> Policy:
    """Read and check a policy file. Raises PolicyError."""
    return load_strictly(file, Policy, PolicyError)


def load_policy_template(base: Path | None = None) -> str:
    """The template that ships, or the one of the same name under `base`.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken
    """
    file = find_asset("judges/policy.jinja", base)
    return load_template(file, ("policy", "prompt", "response"))


@dataclass(frozen=True)
class PolicyJudge:
    """A judge of single responses: a rationale first, then P(the policy is broken).

    `max_tokens` bounds the rationale.
    """

    model: ResolvedModel
    template: str
    policy: Policy
    max_tokens: int = 192

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`; the policy and its version are in the name."""
        method = f"policy-{self.policy.name}-v{self.policy.version}"
        return name_annotator(method, self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON."""
        policy = self.policy
        return {
            "method": "policy",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "policy": {"name": policy.name, "version": policy.version, "text": policy.text},
            "max_tokens": self.max_tokens,
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """A row for each response of the item: `criterion` is the policy's name, `score` the
        probability that the response breaks it, `critique` the rationale; `detail` has the label,
        and the policy's name, version, hash and text."""
        responses = zip(item.response_ids, item.contents, strict=True)
        rows = yield from together([self._judge(item, *response) for response in responses])
        return rows

    def _judge(self, item: Item, response: str, content: str) -> Talk[Row]:
        text = render_template(
            self.template,
            policy=self.policy.text,
            prompt=render_prompt(item.messages),
            response=content,
        )
        template = hash_templates(self.template, DECIDE)
        messages = [{"role": "user", "content": text}]
        sampling = {"temperature": 0.0, "max_tokens": self.max_tokens}
        (thought,) = yield [make_request(self.model, messages, sampling, template=template)]
        detail: dict[str, Any] = {
            "policy": self.policy.name,
            "version": self.policy.version,
            "hash": self.policy.hash,
            "text": self.policy.text,
        }
        about: dict[str, Any] = {
            "response": response,
            "criterion": self.policy.name,
            "critique": thought.text,
        }
        if thought.error is not None:
            why = say_failure(thought)
            return make_row(self.annotator, item, [thought], reason=why, detail=detail, **about)
        messages += [
            {"role": "assistant", "content": thought.text or "(no reasons)"},
            {"role": "user", "content": DECIDE},
        ]
        asked: Asked[float] = yield from ask(
            lambda talk: make_decision(self.model, talk, template), messages, read_decision
        )
        if asked.value is not None:
            detail["label"] = BREAKS if asked.value >= 0.5 else KEEPS
        return make_row(
            self.annotator,
            item,
            (thought, *asked.results),
            score=asked.value,
            reason=asked.reason,
            detail=detail,
            **about,
        )


def tabulate_policies(judgments: pl.DataFrame) -> pl.DataFrame:
    """What was found under each policy, and what of it is stale.

    Stale is what was judged under another version than the newest that the judgments know, or,
    where somebody changed the text without a new version, under another text than the latest.

    Args:
        judgments: rows of the table; those of `PolicyJudge` count.

    Returns:
        A row for each annotator: policy, version, annotator, judged (valid judgments), broken
        (those that say that the policy is), stale (true where all of them are); by name, the
        newest first.
    """
    known = {name: pl.col("detail").str.json_path_match(f"$.{name}") for name in KNOWN}
    rows = (
        judgments.filter(pl.col("annotator").str.starts_with("policy-"))
        .with_columns(**known)
        .with_columns(pl.col("version").cast(pl.Int64))
        .filter(pl.col("hash").is_not_null())
    )
    newest = (
        rows.group_by("policy", "version", "hash")
        .agg(pl.col("created_at").max())
        .sort("version", "created_at", "hash")
        .group_by("policy", maintain_order=True)
        .agg(newest=pl.col("hash").last())
    )
    return (
        rows.join(newest, on="policy")
        .group_by("policy", "version", "annotator")
        .agg(
            judged=pl.col("valid").sum(),
            broken=(pl.col("valid") & (pl.col("label") == BREAKS)).sum(),
            stale=(pl.col("hash") != pl.col("newest")).any(),
        )
        .sort("policy", "version", "annotator", descending=[False, True, False])
        .select(pl.col(name).cast(dtype) for name, dtype in POLICIES.items())
    )
