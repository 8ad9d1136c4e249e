"""Ids: the same for the same meaning, whatever the key order, Unicode form or process."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import (
    canonical_json,
    make_fingerprint,
    make_id,
    make_pair_id,
    make_prompt_id,
    make_request_id,
    make_response_id,
    make_seed,
    make_seeds,
)

ROOT = Path(__file__).parents[2]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def shuffle_keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: shuffle_keys(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return [shuffle_keys(item) for item in value]
    return value


def decompose(value: object) -> object:
    if isinstance(value, str):
        return unicodedata.normalize("NFD", value)
    if isinstance(value, dict):
        return {decompose(key): decompose(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decompose(item) for item in value]
    return value


def has_clashing_keys(value: object) -> bool:
    if isinstance(value, dict):
        keys = {unicodedata.normalize("NFC", key) for key in value}
        return len(keys) < len(value) or any(has_clashing_keys(v) for v in value.values())
    return isinstance(value, list) and any(has_clashing_keys(item) for item in value)


@given(VALUES)
def test_key_order_and_unicode_form_do_not_matter(value: object) -> None:
    if has_clashing_keys(value):
        with pytest.raises(ValueError, match="same text"):
            make_id("x", value)
        return
    expected = make_id("x", value)
    assert make_id("x", shuffle_keys(value)) == expected
    assert make_id("x", decompose(value)) == expected


@given(VALUES, VALUES)
def test_different_meanings_get_different_ids(first: object, second: object) -> None:
    if has_clashing_keys(first) or has_clashing_keys(second):
        return
    same = canonical_json(first) == canonical_json(second)
    assert (make_id("x", first) == make_id("x", second)) == same


@settings(max_examples=3, deadline=None)
@given(st.lists(VALUES.filter(lambda v: not has_clashing_keys(v)), min_size=20, max_size=30))
def test_another_process_makes_the_same_ids(values: list[object]) -> None:
    code = (
        "import json, sys; from schemas.ids import make_id; "
        "print(json.dumps([make_id('x', v) for v in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONHASHSEED": "12345"},
        check=True,
    )
    assert json.loads(done.stdout) == [make_id("x", value) for value in values]


@given(TEXT, TEXT, TEXT)
def test_a_mirrored_pair_is_the_same_pair(prompt: str, first: str, second: str) -> None:
    assert make_pair_id(prompt, first, second) == make_pair_id(prompt, second, first)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "\ud800"])
def test_what_has_no_canonical_form_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"NaN|Unicode"):
        make_id("x", bad)


def test_kinds_are_kept_apart() -> None:
    assert make_id("prompt", "a") != make_id("response", "a")
    prompt = make_prompt_id([{"role": "user", "content": "hi"}])
    assert make_prompt_id([{"content": "hi", "role": "user"}]) == prompt
    assert make_response_id(prompt, "one") != make_response_id(prompt, "one ")


BASE = {
    "model": "m",
    "revision": "r",
    "messages": [{"role": "user", "content": "hi"}],
    "sampling": {"temperature": 0.5, "seed": 1},
    "template": "t",
    "schema": ["A", "B"],
    "order": "ab",
    "sample_index": 0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"revision": "s"},
        {"messages": [{"role": "system", "content": "hi"}]},
        {"sampling": {"temperature": 0.6, "seed": 1}},
        {"sampling": {"temperature": 0.5, "seed": 2}},
        {"template": "u"},
        {"schema": ["A", "C"]},
        {"order": "ba"},
        {"sample_index": 1},
    ],
)
def test_everything_that_can_change_an_answer_changes_the_request(change: dict) -> None:
    assert make_request_id(**BASE) != make_request_id(**{**BASE, **change})


@given(st.lists(st.lists(TEXT, max_size=3), max_size=6), st.randoms())
def test_a_fingerprint_knows_no_order(rows: list[list[str]], rng: object) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert make_fingerprint(rows) == make_fingerprint(shuffled)
    assert make_fingerprint([*rows, ["one more row", "x", "y", "z"]]) != make_fingerprint(rows)


@settings(max_examples=50)
@given(st.lists(TEXT, max_size=5), st.lists(VALUES, max_size=2))
def test_many_seeds_are_those_of_one_at_a_time(names: list[str], parts: list[object]) -> None:
    assert make_seeds(names, *parts) == [make_seed(*parts, name) for name in names]
