"""A taxonomy of failures, and pointed yes/no questions that look for each.

After DeepVerifier (arXiv 2601.15808), whose questions are answered with tools; here a chat model
answers them from the response alone. A re-implementation from the paper's idea: its classes and
questions are not public in full, and those that ship are our own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from annotators.asking import Asked, ask
from annotators.deciding import make_decision, read_decision
from annotators.rubrics.rubric import STRICT, load_strictly
from annotators.talk import Item, Row, Talk, make_row, name_annotator, together
from annotators.templates import hash_templates, load_template, render_prompt, render_template
from engines.assets import find_asset
from engines.models import ResolvedModel
from schemas.errors import AssayError

COUNTS = {
    "annotator": pl.String,
    "failure_class": pl.String,
    "checked": pl.Int64,
    "found": pl.Int64,
    "share": pl.Float64,
    "labelled": pl.Int64,
    "precision": pl.Float64,
    "recall": pl.Float64,
}


class TaxonomyError(AssayError, ValueError):
    """A taxonomy that cannot be used; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Failure:
    """A sub-class of failures. The answer yes to one of `questions` means that it is there."""

    name: str
    definition: str
    questions: tuple[str, ...]
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if not self.questions:
            raise ValueError(f"{self.name}: questions needs at least one")


@dataclass(frozen=True)
class FailureClass:
    """A class of failures and its sub-classes."""

    name: str
    definition: str
    failures: tuple[Failure, ...]
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Taxonomy:
    """Classes of failures; no name stands twice."""

    name: str
    version: int
    classes: tuple[FailureClass, ...]
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        names = [failure.name for _, failure in self]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two failures are named {name!r}; rename one")
        if not names:
            raise ValueError("classes needs at least one with a failure")

    def __iter__(self) -> Iterator[tuple[FailureClass, Failure]]:
        return ((group, failure) for group in self.classes for failure in group.failures)


def load_taxonomy(file: Path) -> Taxonomy:
    """Read and check a taxonomy file. Raises TaxonomyError."""
    return load_strictly(file, Taxonomy, TaxonomyError)


def load_failure_template(base: Path | None = None) -> str:
    """The template that ships, or the one of the same name under `base`.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken
    """
    shows = ("prompt", "response", "definition", "question")
    return load_template(find_asset("judges/failure.jinja", base), shows, reference=None)


@dataclass(frozen=True)
class FailureChecker:
    """A judge of single responses: every pointed question of a taxonomy, a yes or no each."""

    model: ResolvedModel
    template: str
    taxonomy: Taxonomy

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`."""
        method = f"failures-{self.taxonomy.name}-v{self.taxonomy.version}"
        return name_annotator(method, self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its verdicts depend on, as JSON."""
        asked = [
            {"class": group.name, "failure": failure.name, "definition": failure.definition,
             "questions": list(failure.questions)}
            for group, failure in self.taxonomy
        ]  # fmt: skip
        return {
            "method": "failures",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "taxonomy": {"name": self.taxonomy.name, "version": self.taxonomy.version},
            "asked": asked,
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """A row for each response and sub-class: `criterion` is the sub-class, `score` the
        probability of the failure, the largest over its questions; not valid where one of them
        has no answer. All questions go out at once and share all text before the question."""
        rows = yield from together(
            [
                self._check(item, response, content, group, failure)
                for response, content in zip(item.response_ids, item.contents, strict=True)
                for group, failure in self.taxonomy
            ]
        )
        return rows

    def _check(
        self, item: Item, response: str, content: str, group: FailureClass, failure: Failure
    ) -> Talk[Row]:
        asked = yield from together(
            [self._ask(item, content, failure, question) for question in failure.questions]
        )
        values = [one.value for one in asked]
        known = [value for value in values if value is not None]
        return make_row(
            self.annotator,
            item,
            [result for one in asked for result in one.results],
            score=max(known) if len(known) == len(values) else None,
            reason=next((one.reason for one in asked if one.value is None), None),
            response=response,
            criterion=failure.name,
            detail={"class": group.name, "questions": values},
        )

    def _ask(self, item: Item, content: str, failure: Failure, question: str) -> Talk[Asked[float]]:
        text = render_template(
            self.template,
            prompt=render_prompt(item.messages),
            reference=item.answer,
            response=content,
            definition=failure.definition,
            question=question,
        )
        template = hash_templates(self.template)
        asked: Asked[float] = yield from ask(
            lambda talk: make_decision(self.model, talk, template),
            [{"role": "user", "content": text}],
            read_decision,
        )
        return asked


def count_failures(
    judgments: pl.DataFrame, labels: pl.DataFrame | None = None, threshold: float = 0.5
) -> pl.DataFrame:
    """Failures by class, and how far to trust that.

    Args:
        judgments: rows of the table; the valid ones of `FailureChecker` count. A response has a
            failure of a class where a sub-class has a score of at least `threshold`.
        labels: what people found: `response_id` and `failure_class`, a row for each class that a
            response has, and one with null where it has none.

    Returns:
        A row for each annotator and class, by name: annotator, failure_class, checked (responses
        with a valid row), found, share, labelled (checked responses with a label), precision and
        recall over those. A share of nothing is null.
    """
    if labels is None:
        labels = pl.DataFrame(schema={"response_id": pl.String, "failure_class": pl.String})
    named = labels.rename({"response_id": "response_a"})
    known = named.select("response_a", labelled=pl.lit(True)).unique()
    truth = named.drop_nulls().with_columns(true=pl.lit(True)).unique()
    found, labelled, true = (pl.col(name) for name in ("found", "labelled", "true"))
    shares = {
        "share": (found.sum(), pl.len()),
        "precision": ((found & true).sum(), (found & labelled).sum()),
        "recall": ((found & true).sum(), true.sum()),
    }
    return (
        judgments.filter(pl.col("valid") & pl.col("annotator").str.starts_with("failures-"))
        .with_columns(failure_class=pl.col("detail").str.json_path_match("$.class"))
        .group_by("annotator", "failure_class", "response_a")
        .agg(found=pl.col("score").max() >= threshold)
        .join(known, on="response_a", how="left")
        .join(truth, on=["response_a", "failure_class"], how="left")
        .with_columns(labelled.fill_null(False), true.fill_null(False))
        .group_by("annotator", "failure_class")
        .agg(
            checked=pl.len(),
            found=found.sum(),
            labelled=labelled.sum(),
            **{name: pl.when(of > 0).then(part / of) for name, (part, of) in shares.items()},
        )
        .select(pl.col(name).cast(dtype) for name, dtype in COUNTS.items())
        .sort("annotator", "failure_class")
    )
