"""Rubrics: versioned YAML files under `data/rubrics/`, with tests of their own.

A rubric is code that a model runs: it has a version, a hash, tests, and a diff that a person can
read and approve.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from annotators.rubrics.gates import GATES
from engines.assets import assets_folder
from schemas.errors import AssayError
from schemas.ids import make_id

T = TypeVar("T")
Kind = Literal["hard", "core", "important", "highlight"]
KINDS: tuple[Kind, ...] = ("hard", "core", "important", "highlight")
STRICT = ConfigDict(extra="forbid")
EVERY = "*"


class RubricError(AssayError, ValueError):
    """A rubric that cannot be used; the message names the file, the key and the mend."""


@dataclass(frozen=True)
class Criterion:
    """One point on which two responses are compared.

    `kind`: `hard` vetoes whatever is not hard, the others weigh (`annotators.rubrics.aggregate`).
    `check` names a deterministic gate that decides it in place of a model. `penalty`, with a check
    only, is what is left of the merit of a response that fails it: 0 is fatal.
    """

    title: str
    description: str
    kind: Kind
    check: str | None = None
    penalty: float | None = None
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if not self.title.strip() or not self.description.strip():
            raise ValueError("title and description must say something")
        if self.check is not None and self.check not in GATES:
            raise ValueError(f"check {self.check!r} is no gate; use one of {', '.join(GATES)}")
        if self.penalty is not None and not (self.check and 0 <= self.penalty <= 1):
            raise ValueError("penalty is a share from 0 (fatal) to 1, and needs a check")


@dataclass(frozen=True)
class RubricTest:
    """A made-up pair and what the rubric must make of it.

    `scores` are those that a judge would give by title, positive where `a` is better; a criterion
    that is left out gets 0. `fails` names the gates that each response must fail, no more and no
    less. Run by `annotators.rubrics.aggregate.find_faults`.
    """

    name: str
    prompt: str
    a: str
    b: str
    better: Literal["a", "b", "tie"]
    scores: Mapping[str, float] = field(default_factory=dict)
    veto_by: tuple[str, ...] = ()
    fails: Mapping[Literal["a", "b"], tuple[str, ...]] = field(default_factory=dict)
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Rubric:
    """Criteria for the prompts of some `categories` (`*`: of any)."""

    name: str
    version: int
    categories: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    tests: tuple[RubricTest, ...] = ()
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        titles = [criterion.title.casefold() for criterion in self.criteria]
        if not self.asked:
            raise ValueError("criteria needs at least one without a check: a judge has no question")
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"two criteria have the title {title!r}; rename one")
        for test in self.tests:
            for title in {*test.scores, *test.veto_by} - {c.title for c in self.criteria}:
                near = difflib.get_close_matches(title, [c.title for c in self.criteria], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"test {test.name!r} names no criterion with {title!r}{hint}")

    @property
    def asked(self) -> tuple[Criterion, ...]:
        """The criteria that a model must judge."""
        return tuple(criterion for criterion in self.criteria if criterion.check is None)

    @property
    def checked(self) -> tuple[Criterion, ...]:
        """The criteria that gates decide."""
        return tuple(criterion for criterion in self.criteria if criterion.check is not None)

    @property
    def hash(self) -> str:
        """Of all that a verdict depends on: not of the tests."""
        return make_id("rubric", describe_rubric(self))[:12]


def load_rubric(file: Path) -> Rubric:
    """Read and check a rubric file.

    Raises:
        RubricError: no such file, not YAML, an unknown or wrong key, two criteria of one title, or
            a test that speaks of a criterion that is not there.
    """
    return load_strictly(file, Rubric, RubricError)


def load_rubrics(folder: Path | None = None) -> tuple[Rubric, ...]:
    """Every rubric of a folder (default: those that ship), by file name. Raises RubricError."""
    folder = folder or assets_folder() / "rubrics"
    return tuple(load_rubric(file) for file in sorted(folder.glob("*.yaml")))


def choose_rubric(rubrics: Iterable[Rubric], category: str) -> Rubric:
    """The rubric of a category, else the one for every category.

    Raises:
        RubricError: neither is there.
    """
    found = list(rubrics)
    for wanted in (category, EVERY):
        for rubric in found:
            if wanted in rubric.categories:
                return rubric
    raise RubricError(
        f"no rubric is for the category {category!r}, and none for '*'; add one of "
        f"{', '.join(rubric.name for rubric in found) or 'data/rubrics/'} or general"
    )


def describe_rubric(rubric: Rubric) -> dict[str, Any]:
    """A rubric without its tests as JSON, with no key that says nothing."""
    criteria = [
        {key: value for key, value in asdict(criterion).items() if value is not None}
        for criterion in rubric.criteria
    ]
    return {
        "name": rubric.name,
        "version": rubric.version,
        "categories": list(rubric.categories),
        "criteria": criteria,
    }


def write_rubric(rubric: Rubric) -> str:
    """A rubric as the YAML text that `load_rubric` reads."""
    content = describe_rubric(rubric)
    if rubric.tests:
        tests = [{key: value for key, value in asdict(t).items() if value} for t in rubric.tests]
        content["tests"] = [_plain(test) for test in tests]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=96)


def diff_rubrics(a: Rubric, b: Rubric) -> str:
    """The criteria of two rubrics as a unified diff that a person can read; empty where equal."""
    before, after = (write_rubric(replace(rubric, tests=())) for rubric in (a, b))
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"{a.name}@{a.version}",
        f"{b.name}@{b.version}",
        n=2,
    )
    return "".join(lines)


def load_strictly(file: Path, kind: type[T], failure: type[AssayError]) -> T:
    """A YAML file as the frozen dataclass `kind`.

    Raises:
        failure: cannot be read, not YAML, not a mapping, an unknown key or a wrong value.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise failure(f"{file}: cannot be read ({error}); check the path") from error
    except yaml.YAMLError as error:
        raise failure(f"{file}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise failure(f"{file}: must be a mapping with the keys {', '.join(_list_keys(kind))}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise failure("\n".join(f"{file}: {_explain(item)}" for item in error.errors())) from error


def _explain(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "unexpected_keyword_argument":
        return f"{place}: unknown key; remove it or mend its spelling"
    return f"{place}: {item['msg'].removeprefix('Value error, ')}"


def _list_keys(kind: type[Any]) -> list[str]:
    return list(kind.__dataclass_fields__)


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
