"""The value that each quality rule gives a text, and what it makes of texts that are hardly any."""

from __future__ import annotations

import time
from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.clean.rules.boilerplate import measure_boilerplate
from pipelines.clean.rules.form import (
    measure_compressibility,
    measure_repeated_lines,
    measure_repeated_ngrams,
    measure_unfinished,
)
from pipelines.clean.rules.language import LanguageUnknown, measure_foreign
from pipelines.clean.rules.table import RULES, Look
from pipelines.clean.rules.toxicity import WINDOW, measure_toxicity
from schemas.cleaning import LanguageRule, PiiRule, Rule

SPECS = {"language": LanguageRule(keep=["en"]), "pii": PiiRule()}
SHARES = ("language", "toxicity", "repeated_lines", "repeated_ngrams", "compressibility",
          "unfinished", "boilerplate")  # fmt: skip
RIGHT_TO_LEFT = "\u0645\u0631\u062d\u0628\u0627 \u0643\u064a\u0641 \u062d\u0627\u0644\u0643 \u0627\u0644\u064a\u0648\u0645 \u064a\u0627 \u0635\u062f\u064a\u0642\u064a"  # noqa: E501
ODD = ["", " \n\t", "\x00", "a\x00b", "\u202e reversed", RIGHT_TO_LEFT, "\U0001f600" * 50, "\ufffe"]


def measure(name: str, texts: list[str | None]) -> list[float | None]:
    rows = pl.DataFrame(
        {
            "response_id": [str(i) for i in range(len(texts))],
            "prompt_id": [f"p{i}" for i in range(len(texts))],
            "text": pl.Series(texts, dtype=pl.String),
        }
    )
    rule = SPECS.get(name, Rule(threshold=1))
    look = Look(None, None, 0)  # type: ignore[arg-type]  # no rule on a response looks at these
    values = RULES["response"][name].measure(rows, rule, look)
    assert len(values) == len(texts)
    return values.cast(pl.Float64).to_list()


def of_expression(expression: Callable[[pl.Expr], pl.Expr], text: str | None) -> float | None:
    return pl.DataFrame({"t": pl.Series([text], dtype=pl.String)}).select(
        v=expression(pl.col("t"))
    )["v"][0]  # fmt: skip


@pytest.mark.parametrize("name", RULES["response"])
def test_no_text_is_too_odd_for_a_rule(name: str) -> None:
    values = measure(name, [*ODD, None])
    assert all(value is None or value >= 0 for value in values)
    assert measure(name, []) == []
    if name != "boilerplate":  # which is of a pool, not of a text
        assert values[-1] is None


@pytest.mark.parametrize("name", RULES["response"])
def test_a_text_of_five_megabytes_takes_seconds(name: str) -> None:
    started = time.process_time()
    for text in ("e" * 5_000_000, "12 " * 1_700_000, "a@b. " * 1_000_000):
        assert len(measure(name, [text])) == 1
    assert time.process_time() - started < 60


@given(st.lists(st.text(max_size=300), max_size=6))
def test_shares_are_shares_and_a_text_is_measured_alike_in_any_company(texts: list[str]) -> None:
    for name in SHARES:
        values = measure(name, texts)
        assert all(value is None or 0 <= value <= 1 + 1e-9 for value in values), name
        if name != "boilerplate" and texts:
            assert measure(name, texts[:1])[0] == pytest.approx(values[0]), name


def test_what_is_foreign() -> None:
    german = "Das ist ein ganz gew\u00f6hnlicher deutscher Satz \u00fcber das Wetter von heute."
    english = "This is quite an ordinary English sentence about the weather of today."
    texts = pl.Series([german, english, RIGHT_TO_LEFT, "42", "Paris", f"{english} \x00\ufdd0"])
    assert measure_foreign(texts, ["en"]).to_list() == [1.0, 0.0, 1.0, None, None, 0.0]
    assert measure_foreign(texts, ["de", "ar"]).to_list()[:3] == [0.0, 1.0, 0.0]
    mixed = measure_foreign(pl.Series([f"{english} {german} " * 8]), ["en"])[0]
    assert 0.2 < mixed < 0.8
    with pytest.raises(LanguageUnknown, match=r"keep names 'qqq'"):
        measure_foreign(texts, ["qqq"])


def test_a_long_text_is_as_offensive_as_its_worst_part() -> None:
    insult = "You are a fucking stupid piece of shit."
    kind = "Thank you very much for the lovely flowers. " * 100
    values = measure_toxicity(pl.Series([insult, kind, kind + insult, ""]))
    assert values[0] > 0.9 and values[1] < 0.2 and values[3] < 0.1
    assert len(kind) > 2 * WINDOW and values[2] > 0.5


def test_what_is_said_again() -> None:
    assert of_expression(measure_repeated_lines, "a\nb\n\n a \nc") == pytest.approx(0.25)
    assert of_expression(measure_repeated_lines, "one line only") == 0
    loop = "I like tea. " * 50
    prose = "The quick brown fox jumps over the lazy dog while a cat looks on from the old wall."
    assert of_expression(measure_repeated_ngrams, loop) > 0.9
    assert of_expression(measure_repeated_ngrams, prose) == 0
    assert of_expression(measure_repeated_ngrams, "no no no no no") == 0  # too short to tell
    values = measure_compressibility(pl.Series([loop, prose * 2, "short"]))
    assert values[0] > 0.8 > values[1] and values[2] == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("It came to its end.", 0),
        ("42", 0),
        ("Paris", 0),
        ("The answer follows from what was said above, so that we can", 0.5),
        ("The answer follows from what was said above, and so,", 0.5),
        ("1. The first of them is long and has no full stop at all", 0),
        ("- an item of a list that nobody would end with a stop", 0),
        ('He said on that day, and to all of us, "never again."', 0),
        ("```python\nprint(1)", 1),
        ("```python\nprint(1)\n```", 0),
        ("\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002", 0),
        ("", 0),
    ],
)
def test_what_came_to_no_end(text: str, value: float) -> None:
    assert of_expression(measure_unfinished, text) == value


def test_what_a_pool_opens_and_closes_with() -> None:
    rest = "the answer to number {} is this, and it takes a while to say why that is so, {} times"
    same = [f"As a helpful assistant, I say {rest.format(i, i)}" for i in range(6)]
    own = [f"Number {i}: {rest.format(i, i)} {'x' * i}" for i in range(6)]
    frame = pl.DataFrame({"prompt_id": [f"p{i}" for i in range(12)], "content": [*same, *own]})
    assert measure_boilerplate(frame).to_list() == [0.5] * 6 + [0.0] * 6
    one_prompt = frame.with_columns(prompt_id=pl.lit("p"))
    assert measure_boilerplate(one_prompt).to_list() == [0.0] * 12
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    again = shuffled.with_columns(value=measure_boilerplate(shuffled))
    assert frame.join(again, on="content", maintain_order="left")["value"].to_list() == [
        *[0.5] * 6, *[0.0] * 6,
    ]  # fmt: skip
