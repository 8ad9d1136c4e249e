"""Rubrics: files with a version, a hash, a diff, errors that say what to mend, and own tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from annotators.rubrics.aggregate import find_faults, find_test_faults
from annotators.rubrics.rubric import (
    Criterion,
    Rubric,
    RubricError,
    RubricTest,
    choose_rubric,
    describe_rubric,
    diff_rubrics,
    load_rubric,
    load_rubrics,
    write_rubric,
)
from engines.assets import assets_folder, find_asset

SHIPPED = load_rubrics()
GENERAL = choose_rubric(SHIPPED, "no such category")


@pytest.mark.parametrize("rubric", SHIPPED, ids=lambda rubric: rubric.name)
def test_a_shipped_rubric_passes_its_own_tests(rubric: Rubric) -> None:
    assert find_faults(rubric) == []
    assert len(rubric.tests) >= 2
    assert 5 <= len(rubric.criteria) <= 10
    assert any(criterion.kind == "hard" for criterion in rubric.asked)


def test_a_rubric_test_can_fail() -> None:
    test = GENERAL.tests[0]
    wrong = {
        "better": replace(test, better="a"),
        "veto_by": replace(test, veto_by=()),
        "fails.b": replace(test, fails={"b": ("length",)}),
    }
    for key, changed in wrong.items():
        (fault,) = find_test_faults(GENERAL, changed)
        assert key in fault and test.name in fault and "general" in fault


def test_every_category_of_the_taxonomy_has_a_rubric_of_its_own() -> None:
    taxonomy = yaml.safe_load((assets_folder() / "taxonomies" / "open.yaml").read_text())
    for category in [*taxonomy, "arithmetic", "logic", "word-problems"]:
        assert category in choose_rubric(SHIPPED, category).categories, category
    assert GENERAL.name == "general"


def test_no_rubric_for_a_category_is_said() -> None:
    only = [rubric for rubric in SHIPPED if rubric.name == "advice"]
    assert choose_rubric(only, "advice").name == "advice"
    with pytest.raises(RubricError, match=r"'poetry'.*advice"):
        choose_rubric(only, "poetry")
    with pytest.raises(RubricError, match="data/rubrics"):
        choose_rubric([], "poetry")


@pytest.mark.parametrize("rubric", SHIPPED, ids=lambda rubric: rubric.name)
def test_a_rubric_that_is_written_reads_as_the_same(rubric: Rubric, tmp_path: Path) -> None:
    file = tmp_path / "again.yaml"
    file.write_text(write_rubric(rubric))
    assert load_rubric(file) == rubric
    assert load_rubric(file).hash == rubric.hash


def test_the_hash_is_of_what_a_verdict_depends_on() -> None:
    first, *rest = GENERAL.criteria
    others = [
        replace(GENERAL, version=2),
        replace(GENERAL, criteria=(*rest, first)),
        replace(GENERAL, criteria=(replace(first, penalty=0.5), *rest)),
    ]
    assert len({rubric.hash for rubric in (GENERAL, *others)}) == 4
    assert replace(GENERAL, tests=()).hash == GENERAL.hash


def test_a_diff_shows_what_changed_and_nothing_else() -> None:
    changed = replace(
        GENERAL,
        version=2,
        criteria=(*GENERAL.criteria[:-1], Criterion("Cites its source", "It names one.", "core")),
        tests=(),
    )
    lines = diff_rubrics(GENERAL, changed).splitlines()
    added = [line[1:].strip() for line in lines if line.startswith("+")]
    removed = [line[1:].strip() for line in lines if line.startswith("-")]
    assert "- title: Cites its source" in added and "- title: Fits the person" in removed
    assert "++ general@2" in added[0] and "-- general@1" in removed[0]
    assert not any("Does no harm" in line for line in added + removed)
    assert diff_rubrics(GENERAL, replace(GENERAL, tests=())) == ""


def broken(**changes: Any) -> dict[str, Any]:
    return {**describe_rubric(GENERAL), **changes}


ONE = {"title": "T", "description": "D", "kind": "core"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (broken(criteria=[{**ONE, "kind": "soft"}]), r"criteria\.0\.kind: .*'hard', 'core'"),
        (broken(criteria=[{**ONE, "weight": 3}]), r"criteria\.0\.weight: unknown key"),
        (broken(criteria=[{**ONE, "title": " "}]), r"criteria\.0: title and description"),
        (broken(criteria=[{**ONE, "check": "spelling"}]), r"no gate; use one of not_empty"),
        (broken(criteria=[{**ONE, "penalty": 0.5}]), r"penalty .* needs a check"),
        (broken(criteria=[{**ONE, "check": "length", "penalty": 2}]), r"from 0 \(fatal\) to 1"),
        (broken(criteria=[{**ONE, "check": "length"}]), r"at least one without a check"),
        (broken(criteria=[]), r"at least one without a check"),
        (broken(criteria=[ONE, {**ONE, "title": "t"}]), r"two criteria have the title 't'"),
        (broken(version="new"), r"version: .*integer"),
        (
            broken(tests=[{"name": "n", "prompt": "p", "a": "a", "b": "b", "better": "a",
                           "scores": {"Does no harms": 1}}]),
            r"test 'n' names no criterion with 'Does no harms'; did you mean 'Does no harm'",
        ),
        ([1, 2], r"mapping with the keys name, version"),
    ],
)  # fmt: skip
def test_a_broken_rubric_is_named_with_its_key_and_the_mend(
    content: Any, why: str, tmp_path: Path
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(RubricError, match=why) as caught:
        load_rubric(file)
    assert "broken.yaml" in str(caught.value)


def test_a_file_that_is_no_yaml_or_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    with pytest.raises(RubricError, match=r"bad\.yaml: cannot be read"):
        load_rubric(file)
    file.write_text("a: [")
    with pytest.raises(RubricError, match=r"bad\.yaml: not valid YAML"):
        load_rubric(file)


def test_a_folder_without_rubrics_has_none(tmp_path: Path) -> None:
    assert load_rubrics(tmp_path) == ()
    assert load_rubric(find_asset("rubrics/general.yaml")) == GENERAL
    assert isinstance(GENERAL.tests[0], RubricTest)
