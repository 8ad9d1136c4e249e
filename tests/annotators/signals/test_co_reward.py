"""Cross-view majority: labels by hand, the guard of paraphrases, and what it buys in simulation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.signals.co_reward import (
    explain_paraphrase,
    find_views,
    keeps_meaning,
    label_rollouts,
    label_views,
    make_label_pairs,
    make_label_rows,
    read_answer,
)
from annotators.signals.rows import SignalUnusable
from tests.annotators.signals.checking import check_rows

SCHEMA = dict.fromkeys(("prompt_id", "response_id", "answer"), pl.String)
VIEWS = pl.DataFrame({"prompt_id": ["x"], "paraphrase_id": ["y"]})
answers = st.lists(st.sampled_from(["1", "2", "3", None]), max_size=6)


def make_rollouts(**by_prompt: list[str | None]) -> pl.DataFrame:
    rows = [
        (prompt, f"{prompt}{place}", answer)
        for prompt, said in by_prompt.items()
        for place, answer in enumerate(said)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def label(x: list[str | None], y: list[str | None], tau: float = 0.5) -> dict[str, object]:
    return label_views(make_rollouts(x=x, y=y), VIEWS, tau=tau).row(0, named=True)


def test_labels_by_hand() -> None:
    told = label(["18", " 18 ", "18", "20"], ["18", "18", None, "7"])
    assert (told["label"], told["share"]) == ("18", 0.75)
    assert (told["label_paraphrase"], told["share_paraphrase"]) == ("18", 0.5)
    assert (told["agree"], told["kept"], told["reason"]) == (True, True, None)


@pytest.mark.parametrize(
    ("x", "y", "tau", "reason"),
    [
        (["1", "1"], ["2", "2"], 0.5, "views_disagree"),
        (["1", "2"], ["1", "1"], 0.5, "no_majority"),
        ([None, ""], ["1"], 0.5, "no_majority"),
        ([], ["1"], 0.5, "no_majority"),
        (["1", "1", None, None, None], ["1"], 0.5, "share_below_tau"),
        (["1"], ["1", "1", "2"], 0.7, "share_below_tau"),
    ],
)
def test_why_a_question_is_not_kept(
    x: list[str | None], y: list[str | None], tau: float, reason: str
) -> None:
    told = label(x, y, tau)
    assert (told["kept"], told["reason"]) == (False, reason)


@given(answers, answers, st.floats(0, 1))
def test_the_views_are_alike(x: list[str | None], y: list[str | None], tau: float) -> None:
    """Swapping them swaps their columns, and whether they agree stays."""
    one, other = label(x, y, tau), label(y, x, tau)
    for name in ("label", "share"):
        assert one[name] == other[f"{name}_paraphrase"]
        assert one[f"{name}_paraphrase"] == other[name]
    for name in ("agree", "kept", "reason"):
        assert one[name] == other[name]
    assert one["agree"] or not one["kept"]


def test_each_view_labels_the_other() -> None:
    """Also where they disagree: the label is seen, and the question is not kept."""
    rollouts = make_rollouts(x=["1", "1", "2"], y=["2", "2", None], z=["9"])
    told = label_rollouts(rollouts, label_views(rollouts, VIEWS, tau=0.5))
    assert told["response_id"].to_list() == ["x0", "x1", "x2", "y0", "y1", "y2"]
    assert told["label"].to_list() == ["2", "2", "2", "1", "1", "1"]
    assert told["right"].to_list() == [False, False, True, False, False, None]
    assert not told["kept"].any()
    assert len(make_label_pairs(told)) == 0
    rows = check_rows(make_label_rows(told, tau=0.5))
    assert {row["reason"] for row in rows} == {"views_disagree"}


def test_pairs_and_rows_of_a_kept_question() -> None:
    rollouts = make_rollouts(x=["1", "1", "2", None], y=["1", "1"])
    told = label_rollouts(rollouts, label_views(rollouts, VIEWS, tau=0.5))
    pairs = make_label_pairs(told)
    assert pairs.select("chosen", "rejected").rows() == [("x0", "x2"), ("x1", "x2")]
    rows = {row["response_a"]: row for row in check_rows(make_label_rows(told, tau=0.5))}
    assert [rows[name]["score"] for name in ("x0", "x2", "x3", "y0")] == [1, 0, None, 1]
    assert rows["x3"]["reason"] == "no answer could be read"


def test_empty_and_unusable_frames() -> None:
    none = pl.DataFrame(schema=SCHEMA)
    labelled = label_views(none, VIEWS.clear(), tau=0.5)
    told = label_rollouts(none, labelled)
    assert len(labelled) == len(told) == len(make_label_pairs(told)) == 0
    assert make_label_rows(told, tau=0.5) == []
    twice = pl.DataFrame({"prompt_id": ["x", "z"], "paraphrase_id": ["y", "x"]})
    with pytest.raises(SignalUnusable, match="prompt x stands in two views"):
        label_views(none, twice, tau=0.5)
    with pytest.raises(SignalUnusable, match="between 0 and 1"):
        label_views(none, VIEWS, tau=1.5)
    with pytest.raises(SignalUnusable, match="lack the column answer"):
        label_views(none.drop("answer"), VIEWS, tau=0.5)


ASK = "Ann has 1,200 apples and gives 3 to Bob. How many are left?"


@pytest.mark.parametrize(
    ("paraphrase", "fault"),
    [
        ("Bob gets three of Ann's 1200 apples. How many does she keep?", None),
        ("Of 1200.0 apples Ann hands 3 to Bob; find what remains.", None),
        ("  ", "empty"),
        ("ann has 1,200 apples, and gives 3 to Bob! How many are left", "identical"),
        ("Ann has many apples and gives 3 to Bob. How many are left?", "numbers_lost"),
        ("Ann has 1200 apples, gives 3 to Bob, and buys 5. How many now?", "numbers_added"),
        ("Ann has 1200 apples and gave 3 to Bob.", "question_lost"),
        ("Ann has 1200 apples and gives -3 to Bob. How many are left?", "numbers_lost"),
    ],
)
def test_the_guard_of_paraphrases(paraphrase: str, fault: str | None) -> None:
    assert explain_paraphrase(ASK, paraphrase) == fault
    assert keeps_meaning(ASK, paraphrase) == (fault is None)


def test_the_guard_of_texts_without_numbers_or_question() -> None:
    assert keeps_meaning("Cats sleep.", "Felines rest.")
    assert keeps_meaning("A dozen eggs cost 2.50; how much is one?", "12 eggs cost 2.5. Per egg?")
    assert explain_paraphrase("Range 10-20?", "Range from 10 to 20?") is None
    assert not keeps_meaning("", "")


@given(st.text(max_size=40))
def test_no_text_is_a_paraphrase_of_itself(text: str) -> None:
    assert explain_paraphrase(text, text) in ("empty", "identical")


def simulate(error: float, broken: float, questions: int = 600, votes: int = 8) -> pl.DataFrame:
    """Rollouts of questions, a share `error` of which mislead most answers to the same wrong one;
    the paraphrase does not mislead with probability `broken`. The truth is `t`."""
    rng = np.random.default_rng(7)
    rows = []
    for question in range(questions):
        misled = rng.random() < error
        for view, bad in (("x", misled), ("y", misled and rng.random() >= broken)):
            said = rng.choice(["lead", "other", "noise"], votes, p=[0.7, 0.15, 0.15])
            words = {"lead": "w" if bad else "t", "other": "t" if bad else "w", "noise": "n"}
            prompt = f"{view}{question}"
            rows += [(prompt, f"{prompt}-{n}", words[one]) for n, one in enumerate(said)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def list_views(questions: int = 600) -> pl.DataFrame:
    return pl.DataFrame(
        {"prompt_id": [f"x{n}" for n in range(questions)],
         "paraphrase_id": [f"y{n}" for n in range(questions)]}
    )  # fmt: skip


@pytest.mark.parametrize("broken", [0.3, 0.6, 0.9])
def test_cross_view_labels_are_purer_than_a_plain_majority(broken: float) -> None:
    """Plain: 1 - e of the labels are right. Kept: (1 - e) / (1 - e + e (1 - q))."""
    error = 0.4
    rollouts = simulate(error, broken)
    labelled = label_views(rollouts, list_views(), tau=0.5)
    plain = (labelled["label"] == "t").mean()
    kept = labelled.filter(pl.col("kept"))
    purity = (kept["label"] == "t").mean()
    assert plain == pytest.approx(1 - error, abs=0.06)
    assert purity == pytest.approx((1 - error) / (1 - error * broken), abs=0.06)
    assert purity > plain + 0.3 * error * broken
    pairs = make_label_pairs(label_rollouts(rollouts, labelled))
    right = pairs.select((pl.col("label") == "t").mean()).item()
    assert right == pytest.approx(purity, abs=0.06)


def test_a_paraphrase_that_breaks_nothing_buys_nothing() -> None:
    labelled = label_views(simulate(0.4, 0.0), list_views(), tau=0.5)
    kept = labelled.filter(pl.col("kept"))
    plain = (labelled["label"] == "t").mean()
    assert (kept["label"] == "t").mean() == pytest.approx(plain, abs=0.04)


def make_prompts(*rows: tuple[str, str | None, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(name, parent, [{"role": "user", "content": text}]) for name, parent, text in rows],
        {
            "prompt_id": pl.String,
            "parent_id": pl.String,
            "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
        },
        orient="row",
    )


def test_a_view_is_a_prompt_and_the_first_paraphrase_of_it() -> None:
    prompts = make_prompts(
        ("x", None, "What is 3 plus 4?"), ("z", "x", "Find the sum of 3 and 4."),
        ("y", "x", "Give the sum of 3 and 4."), ("w", "x", "What is 3 plus 5?"),
        ("v", "gone", "Name it."), ("u", "y", "Tell the sum of 3 and 4."),
    )  # fmt: skip
    views, left_out = find_views(prompts)
    assert views.rows() == [("y", "u"), ("x", "z")]
    assert left_out == {"no_original": 1, "numbers_lost": 1, "further_paraphrase": 1}
    views, left_out = find_views(prompts.head(3))
    assert (views.rows(), left_out) == ([("x", "y")], {"further_paraphrase": 1})
    views, left_out = find_views(prompts.clear())
    assert views.is_empty() and views.columns == ["prompt_id", "paraphrase_id"] and not left_out
    with pytest.raises(SignalUnusable, match="lack the column parent_id"):
        find_views(prompts.drop("parent_id"))


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("So the answer is 1,000.50.", "1000.5"), ("0.0", "0"), ("-7.0", "-7"), ("−7", "-7"),
        ("It is  Paris", "paris"), ("<answer> B </answer>", "b"), ("7 eggs", "7 eggs"),
        ("100", "100"), ("", None), (" \n", None),
    ],
)  # fmt: skip
def test_equal_answers_are_equal_texts(content: str, answer: str | None) -> None:
    assert read_answer(content) == answer
