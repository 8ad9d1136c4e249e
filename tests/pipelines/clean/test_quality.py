"""The quality rules as stages: each hit is a decision, each rule has a scope, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.clean.quality import (
    apply_rules,
    find_rules,
    frame_responses,
    keep_good,
    make_quality_scopes,
)
from pipelines.clean.rules.pairs import (
    measure_disagreement,
    measure_label_noise,
    measure_length_ratio,
    measure_outliers,
)
from pipelines.clean.rules.table import RULES
from pipelines.lake.catalogue import Lake, open_lake
from pipelines.lake.run import new_run
from schemas.cleaning import QualitySpec
from schemas.recipe import Recipe, RecipeError
from tests.conftest import make_recipe

TEXTS = {
    "good": "A full answer, which says what was asked.",
    "refusal": "I'm sorry, but I cannot help with that.",
    "mail": "Write to joe@mail.example.com for more.",
    "both": "I cannot help with that; write to joe@mail.example.com.",
    "loop": "the same\n" * 30,
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(tmp_path_factory.mktemp("lake") / "lake") as opened:
        yield opened


def recipe(**quality: Any) -> Recipe:
    return make_recipe("http://localhost/v1", clean={"quality": quality})


def make_responses() -> pl.DataFrame:
    rows = pl.DataFrame(
        [(name, f"p-{name}", text) for name, text in TEXTS.items()],
        schema=["response_id", "prompt_id", "content"],
        orient="row",
    )
    return frame_responses(pl.concat([rows, rows]))  # two samples may say one thing


def test_hits_are_decisions_with_value_threshold_and_reason(lake: Lake) -> None:
    strict = recipe(refusal=2, repeated_lines=0.5, pii={})
    rows = make_responses()
    summary = apply_rules(lake, new_run(), strict, "response", rows)
    assert summary.stage == "quality_responses"
    assert (summary.rows_in, summary.kept) == (5, 2)
    assert summary.dropped == {"refusal": 2, "repeated_lines": 1}
    assert summary.extra["hits"] == {"pii": 2, "refusal": 2, "repeated_lines": 1}
    assert summary.extra["redacted"] == {"pii": 2}
    scopes = make_quality_scopes(lake, strict, "response", rows)
    assert set(scopes) == {f"quality_responses:{name}" for name in summary.extra["hits"]}
    found = lake.query(
        "SELECT rule, item_id, action, item_kind, value, threshold, reason FROM decisions "
        "WHERE list_contains(?, scope) ORDER BY rule, item_id",
        [list(scopes.values())],
    )
    assert found.select("rule", "item_id", "action").rows() == [
        ("pii", "both", "redact"), ("pii", "mail", "redact"),
        ("refusal", "both", "drop"), ("refusal", "refusal", "drop"),
        ("repeated_lines", "loop", "drop"),
    ]  # fmt: skip
    assert set(found["item_kind"]) == {"response"}
    assert (found["value"] >= found["threshold"]).all()
    assert found["reason"][4].startswith("this share of its lines says an earlier one again: 0.96")
    kept = keep_good(lake, strict, "response", rows, rows)
    assert set(kept["response_id"]) == {"good", "mail"}
    again = apply_rules(lake, new_run(), strict, "response", rows)
    assert {**again.to_json(), "seconds": 0} == {**summary.to_json(), "seconds": 0}


def test_what_is_marked_stays(lake: Lake) -> None:
    lax = recipe(refusal={"threshold": 2, "then": "mark"})
    rows = make_responses()
    summary = apply_rules(lake, new_run(), lax, "response", rows)
    assert summary.kept == 5 and summary.extra["marked"] == {"refusal": 2}
    assert len(keep_good(lake, lax, "response", rows, rows)) == 5


def test_a_changed_threshold_is_a_new_scope_for_that_rule_alone(lake: Lake) -> None:
    rows = make_responses()
    one = make_quality_scopes(lake, recipe(refusal=2, unfinished=0.5), "response", rows)
    other = make_quality_scopes(lake, recipe(refusal=3, unfinished=0.5), "response", rows)
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == {"quality_responses:refusal"}
    fewer = make_quality_scopes(lake, recipe(refusal=2, unfinished=0.5), "response", rows[:-1])
    assert not set(one.values()) & set(fewer.values())
    shuffled = rows.sample(fraction=1, shuffle=True, seed=1)
    assert one == make_quality_scopes(lake, recipe(refusal=2, unfinished=0.5), "response", shuffled)


def test_no_rule_and_no_row_are_no_error(lake: Lake) -> None:
    rows = make_responses()
    assert apply_rules(lake, new_run(), recipe(), "response", rows).kept == len(rows)
    everything = recipe(
        language={"keep": ["en"]}, pii={},
        **dict.fromkeys(set(RULES["response"]) - {"language", "pii"}, 0.5),
    )  # fmt: skip
    summary = apply_rules(lake, new_run(), everything, "response", rows.clear())
    assert (summary.rows_in, summary.kept) == (0, 0)
    assert set(summary.extra["hits"]) == set(RULES["response"])


def test_every_rule_of_a_recipe_is_run_by_some_stage() -> None:
    named = {name for kind in RULES.values() for name in kind}
    assert named == set(QualitySpec.model_fields)
    full = QualitySpec.model_validate(
        {"language": {"keep": ["en"]}, "pii": {},
         **dict.fromkeys(set(named) - {"language", "pii"}, 0.5)}
    )  # fmt: skip
    for kind in RULES:
        assert list(find_rules(full, kind)) == list(RULES[kind])
    with pytest.raises(RecipeError, match=r"did you mean 'refusal'"):
        recipe(refusals=2)
    with pytest.raises(RecipeError, match=r"set length"):
        make_recipe("http://localhost/v1", clean={"bias": {"match_length": True}})


def test_pairs_are_held_against_their_lengths_margins_and_opinions(lake: Lake) -> None:
    pairs = pl.DataFrame(
        {
            "pair_id": ["a", "b", "c"], "chosen_id": ["1", "2", "3"],
            "rejected_id": ["4", "5", "6"], "prompt_id": ["p", "q", "r"], "source": ["s"] * 3,
            "margin": [0.02, 0.5, 1.0], "agreement": [0.6, None, 1.0],
            "chosen": ["ab", "a" * 40, ""], "rejected": ["abc", "a", "abcd"],
        }
    )  # fmt: skip
    assert measure_length_ratio(pairs).to_list() == [1.5, 40, 4]
    assert measure_disagreement(pairs).to_list() == pytest.approx([0.4, None, 0])
    rules = recipe(length_ratio=30, low_margin=0.05, disagreement=0.4)
    summary = apply_rules(lake, new_run(), rules, "pair", pairs)
    assert summary.dropped == {"length_ratio": 1, "low_margin": 1}
    assert summary.extra["hits"] == {"length_ratio": 1, "low_margin": 1, "disagreement": 1}


def test_confident_learning_finds_the_labels_that_were_turned_round() -> None:
    random = np.random.default_rng(0)
    taste = random.normal(size=16)
    one, other = (random.normal(size=(600, 16)).astype(np.float32) for _ in range(2))
    better = ((one - other) @ taste > 0)[:, None]
    chosen, rejected = np.where(better, one, other), np.where(better, other, one)
    turned = random.random(600) < 0.1
    chosen[turned], rejected[turned] = rejected[turned].copy(), chosen[turned].copy()
    prompts = [f"p{i}" for i in range(600)]
    noise, bar = measure_label_noise(chosen, rejected, prompts, seed=0)
    called = (noise >= bar).to_numpy()
    assert (called & turned).sum() / called.sum() > 0.9
    assert (called & turned).sum() / turned.sum() > 0.5
    blind = random.normal(size=(2, 600, 16)).astype(np.float32)
    guesses, _ = measure_label_noise(*blind, prompts, seed=0)
    assert (guesses >= 0.7).sum() == 0  # a model that knows nothing calls nothing wrong
    order = random.permutation(600)
    again, _ = measure_label_noise(chosen[order], rejected[order], [prompts[i] for i in order], 0)
    assert again.to_numpy() == pytest.approx(noise.to_numpy()[order], abs=1e-6)
    few, _ = measure_label_noise(chosen[:50], rejected[:50], prompts[:50], 0)
    assert few.null_count() == 50


def test_label_noise_embeds_no_response_twice(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def embed(texts: list[str], *_: Any, **__: Any) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), text.count("a")] for text in texts], dtype=np.float32)

    monkeypatch.setattr("pipelines.lake.vectors.embed_texts", embed)
    monkeypatch.setattr("pipelines.lake.vectors.choose_precision", lambda: "float32")
    rows = [(f"n{i}", f"p{i}", f"{i}c", f"{i}r", "s", 0.5, 1.0, "a" * i, f"b{i}")
            for i in range(120)]  # fmt: skip
    names = ["pair_id", "prompt_id", "chosen_id", "rejected_id", "source", "margin", "agreement",
             "chosen", "rejected"]  # fmt: skip
    pairs = pl.DataFrame(rows, schema=names, orient="row")
    noisy = recipe(label_noise=0.7)
    apply_rules(lake, new_run(), noisy, "pair", pairs[:-1])
    assert sorted(asked) == sorted({*pairs["chosen"][:-1], *pairs["rejected"][:-1]})
    asked.clear()
    apply_rules(lake, new_run(), noisy, "pair", pairs)
    assert sorted(asked) == ["a" * 119, "b119"]


def test_a_reward_is_held_against_its_own_source() -> None:
    pairs = pl.DataFrame(
        {
            "pair_id": [f"{s}{i}" for s in "ab" for i in range(30)],
            "chosen_id": [f"{s}{i}c" for s in "ab" for i in range(30)],
            "rejected_id": [f"{s}{i}r" for s in "ab" for i in range(30)],
            "source": ["a"] * 30 + ["b"] * 30,
        }
    )
    scores = pl.DataFrame(
        [("rm", f"{s}{i}{side}", scale * (i % 10)) for s, scale in (("a", 1.0), ("b", 100.0))
         for i in range(30) for side in "cr"] + [("rm", "a0c", 400.0)],
        schema=["annotator", "response_id", "score"], orient="row",
    ).unique(["annotator", "response_id"], keep="last")  # fmt: skip
    z = measure_outliers(pairs, scores)
    assert z[0] > 50 and max(z[1:]) < 3  # 400 is usual in b and not in a
    none = measure_outliers(pairs, scores.head(5))
    assert none.null_count() == len(pairs)
    flat = measure_outliers(pairs, scores.with_columns(score=pl.lit(1.0)))
    assert flat.null_count() == len(pairs)
