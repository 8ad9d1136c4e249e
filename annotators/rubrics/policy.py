"""Content moderation: does a response break a written policy, and under which version of it.

The policy's text, version and hash stand in every judgment, and in the annotator's name: a new
version is another annotator, so its judgments are wanted anew, and those of the old one can be
found (`find_stale`).
"""

from __future__ import annotations

import json
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
        and the policy's name, version and hash."""
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


def find_stale(judgments: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The rows of `judgments` that were made under another version of `policy`, or under its text
    as it was before somebody changed it without a new version."""
    stale = [_is_stale(detail, policy) for detail in judgments["detail"]]
    return judgments.filter(pl.Series(stale, dtype=pl.Boolean))


def _is_stale(detail: str | None, policy: Policy) -> bool:
    try:
        found = json.loads(detail or "{}")
    except ValueError:
        return False
    if not isinstance(found, dict) or found.get("policy") != policy.name:
        return False
    return bool(found.get("hash") != policy.hash)
