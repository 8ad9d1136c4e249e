"""Recipes: unknown keys, impossible quotas, names of nothing; each names the file and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.assets import assets_folder
from schemas.opinions import METHODS_OF, JudgeSpec
from schemas.recipe import RecipeError, load_recipe, parse_import, parse_recipe
from tests.conftest import make_recipe

SMALL = {"name": "t", "prompts": {"arithmetic": {"count": 3}}}


@pytest.mark.parametrize("file", sorted((assets_folder() / "recipes").glob("*.yaml")))
def test_shipped_recipes_are_valid(file: Path) -> None:
    assert load_recipe(file).name == file.stem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labell": {}}, "labell: unknown key; did you mean 'label'"),
        ({"label": {"treshold": 0.7}}, "label.treshold: unknown key; did you mean 'threshold'"),
        ({"prompts": {"open": {"cuont": 3}}}, "prompts.open.cuont: unknown key; did you mean"),
        (
            {"rollouts": [{"temprature": 1}]},
            "rollouts.0.temprature: unknown key; did you mean 'temperature'",
        ),
        ({"mix": {"categories": {"a": 0.7, "b": 0.6}}}, "mix: impossible quota: the shares under"),
        ({"mix": {"total": 1, "sources": {"a": 0.5, "b": 0.5}}}, "cannot share 1 pairs"),
        ({"rollouts": [{"model": "embeded"}]}, "did you mean 'embedded'"),
        ({"prompts": {}}, "name at least one of verifiable"),
        ({"label": {"threshold": 0.4}}, "label.threshold"),
        ({"name": "no spaces"}, "name"),
    ],
)
def test_a_broken_recipe_names_the_key_and_the_mend(change: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=r"^file\.yaml: ") as caught:
        parse_recipe({**SMALL, **change}, "file.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8000/v1", "localhost:8000/v1", "ftp://there/v1", "http://", "http:///v1",
     "http://:8000/v1", "http://there:port/v1", "http://[::1/v1"],
)  # fmt: skip
def test_the_address_of_a_server_has_a_scheme_and_a_host(url: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SMALL, "models": {"m": {"model": "x", "url": url}}}, "file.yaml")
    assert str(caught.value) == (
        "file.yaml: models.m.url: not the address of a server; write it with http:// or https:// "
        "and the host, such as http://127.0.0.1:8000/v1, or leave url out for a local vLLM"
    )


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8000/v1", "https://a.example/v1/"])
def test_an_address_is_kept_as_it_stands(url: str | None) -> None:
    recipe = parse_recipe({**SMALL, "models": {"m": {"model": "x", "url": url}}})
    assert recipe.models["m"].url == url


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe(tmp_path / "absent.yaml")
    for content, message in ((b"a: [", "not valid YAML"), (b"- a", "mapping"), (b"\xff", "read")):
        file = tmp_path / "bad.yaml"
        file.write_bytes(content)
        with pytest.raises(RecipeError, match=message) as caught:
            load_recipe(file)
        assert str(file) in str(caught.value)


def test_the_hash_sees_every_value_and_no_order() -> None:
    first = parse_recipe({"seed": 1, **SMALL})
    assert parse_recipe({**SMALL, "seed": 1}).recipe_hash == first.recipe_hash
    assert parse_recipe({**SMALL, "seed": 2}).recipe_hash != first.recipe_hash


def test_an_import_source_is_checked_too() -> None:
    assert parse_import("x.jsonl", name="x").licence == "unknown"
    with pytest.raises(RecipeError, match="name"):
        parse_import("x.jsonl", name="no spaces")


@pytest.mark.parametrize(("judge", "words"), [
    ({"mode": "vote"}, "temperature above 0"),
    ({"method": "rubric", "k": 4}, "k is of the method pairwise and ranking and generative"),
    ({"method": "rubric", "template": "x"}, "template is of the method pairwise .* leave it out"),
    ({"method": "policy", "orders": "ab"}, "orders is of the method"),
    ({"method": "failures", "max_tokens": 64}, "max_tokens is of the method"),
    ({"max_tokens": 64}, "max_tokens is of the mode reason; the mode is choice: leave it out"),
    ({"method": "yes_prob", "mode": "vote"}, "mode vote is of the method pairwise and ranking"),
    ({"method": "ranking", "topology": "swiss", "budget": 9}, "budget is of the topology adaptive"),
    ({"k": 8}, "k is 8 at temperature 0"),
    ({"k": 2, "mode": "reason", "temperature": 0}, "set a temperature above 0, or leave k out"),
    ({"method": "generative", "k": 4, "temperature": 0}, "k is 4 at temperature 0"),
    ({"method": "generative", "k": 2, "orders": "ab", "temperature": 0}, "k is 2 at temperature 0"),
    ({"adapt": False}, "adapt is of the method rubric"),
    ({"method": "rubrik"}, "method"),
])  # fmt: skip
def test_a_setting_of_another_method_is_said_to_be_one(judge: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_recipe(judges=[{"model": "m", **judge}])


@pytest.mark.parametrize("judge", [
    {"k": 1}, {"k": 2, "temperature": 0.1}, {"mode": "reason", "max_tokens": 64},
    {"method": "generative", "k": 4}, {"method": "generative", "k": 2, "temperature": 0},
    {"method": "generative", "temperature": 0}, {"method": "yes_prob", "mode": "reason"},
    {"method": "ranking", "budget": 9}, {"method": "failures"},
])  # fmt: skip
def test_settings_that_a_method_knows_are_taken(judge: dict[str, Any]) -> None:
    (spec,) = make_recipe(judges=[{"model": "m", **judge}]).judges
    assert all(getattr(spec, key) == value for key, value in judge.items())


def test_the_methods_of_every_setting_are_known() -> None:
    assert METHODS_OF.keys() == JudgeSpec.model_fields.keys() - {"name", "model", "method"}


@pytest.mark.parametrize(("signal", "words"), [
    ({"method": "policy_pairs", "tau": 0.9}, "tau is of the method co_reward"),
    ({"method": "goal", "goal": "x", "baseline": " "}, "the method goal needs baseline"),
    ({"method": "lengths"}, "limit must be given for the shape cosine"),
    ({"method": "lengths", "shape": "linear", "words": 4}, "words is of the shape repetition"),
    ({"method": "implicit", "teacher": "m"}, "the method implicit needs reference"),
    ({"method": "implicit", "teacher": "m", "reference": "m"}, "both 'm': every reward would be 0"),
    ({"method": "implicit", "teacher": "m", "reference": "n"},
     r"signals\[0\].reference names 'n', which is not under models"),
    ({"method": "lengths", "limits": 4}, "signals.0.limits: unknown key; did you mean 'limit'"),
    ({"method": "golas", "goal": "x"}, "signals.0.method"),
])  # fmt: skip
def test_a_signal_has_what_its_method_needs_and_no_more(signal: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_recipe(signals=[signal])


def test_a_ranking_is_not_paid_for_in_a_loop_that_cannot_hear_it() -> None:
    judges = [{"model": "m"}, {"model": "m", "method": "ranking"}]
    assert make_recipe(judges=judges).loop is None
    with pytest.raises(
        RecipeError, match=r"judges\[1\] has the method ranking.*take the method pair"
    ):
        make_recipe(judges=judges, loop={})


def test_what_a_signal_says_of_itself_is_its_own() -> None:
    (spec,) = make_recipe(signals=[{"method": "lengths", "limit": 4000}]).signals
    assert spec.describe() == {
        "method": "lengths", "shape": "cosine", "limit": 4000, "words": None
    }  # fmt: skip


def test_a_recipe_survives_being_written_and_read() -> None:
    judges = [{"model": "m", "method": m} for m in ("pairwise", "generative", "rubric", "policy")]
    signals = [{"method": "co_reward"}, {"method": "lengths", "shape": "linear"}]
    recipe = make_recipe(judges=judges, signals=signals)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
