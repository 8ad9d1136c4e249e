"""The goal/baseline score: its formula by hand, its laws, and the embedder it comes with."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annotators.signals.goal_baseline import make_goal_rows, score_texts, score_toward_goal
from annotators.signals.rows import SignalUnusable
from tests.annotators.signals.checking import check_rows

X, Y, Z = np.eye(3)
vectors = arrays(np.float64, 4, elements=st.floats(-5, 5, width=32)).filter(
    lambda vector: np.linalg.norm(vector) > 0.1
)
alphas = st.floats(0, 1)


@pytest.mark.parametrize(("alpha", "score"), [(0.0, 0.0), (0.5, 0.5625), (1.0, 0.75)])
def test_a_score_by_hand(alpha: float, score: float) -> None:
    """s = z, g = y, b = x: of s - g = (0, -1, 1), whose square is 2, one half lies along g - b."""
    assert score_toward_goal([Z], Y, X, alpha=alpha) == pytest.approx([score])


@given(vectors, vectors, vectors, alphas)
def test_it_is_the_formula_of_the_paper(
    s: np.ndarray, g: np.ndarray, b: np.ndarray, alpha: float
) -> None:
    """Written with the projection of the point onto the line, not of the difference."""
    s, g, b = (vector / np.linalg.norm(vector) for vector in (s, g, b))
    assume(np.linalg.norm(g - b) > 1e-3)
    way = (g - b) / np.linalg.norm(g - b)
    on_line = b + ((s - b) @ way) * way
    expected = 1 - 0.5 * np.linalg.norm(alpha * on_line + (1 - alpha) * s - g) ** 2
    assert score_toward_goal([s], g, b, alpha=alpha)[0] == pytest.approx(expected, abs=1e-6)


@given(vectors, vectors, vectors, alphas, alphas, st.floats(0.01, 100))
def test_it_is_bounded_rises_with_alpha_and_knows_no_length(
    s: np.ndarray, g: np.ndarray, b: np.ndarray, one: float, other: float, scale: float
) -> None:
    assume(np.linalg.norm(g / np.linalg.norm(g) - b / np.linalg.norm(b)) > 1e-3)
    less, more = sorted((one, other))
    low, high = (score_toward_goal([s, g], g, b, alpha=alpha) for alpha in (less, more))
    assert -1 <= low[0] <= high[0] + 1e-9 <= 1 + 1e-9
    assert high[1] == pytest.approx(1)
    assert score_toward_goal([s * scale], g, b, alpha=less)[0] == pytest.approx(low[0], abs=1e-6)
    cosine = s @ g / np.linalg.norm(s) / np.linalg.norm(g)
    assert score_toward_goal([s], g, b, alpha=0)[0] == pytest.approx(cosine, abs=1e-6)


def test_what_goal_and_baseline_share_says_nothing_at_alpha_1() -> None:
    """Moving a response across the line changes the score at alpha < 1 only."""
    near, far = Y + X, Y + X + 5 * Z
    along = [(vector @ (Y - X)) for vector in (near / np.sqrt(2), far / np.sqrt(27))]
    assert along == pytest.approx([0, 0])
    projected = score_toward_goal([near, far], Y, X, alpha=1.0)
    assert projected[0] == pytest.approx(projected[1])
    plain = score_toward_goal([near, far], Y, X, alpha=0.0)
    assert plain[0] > plain[1] + 0.4


def test_degenerate_vectors() -> None:
    scores = score_toward_goal([X, 0 * X, X * np.nan], Y, Z, alpha=0.5)
    assert np.isnan(scores).tolist() == [False, True, True]
    assert len(score_toward_goal(np.zeros((0, 3)), Y, X, alpha=0.5)) == 0
    assert score_toward_goal([X], Y, Y, alpha=0.0) == pytest.approx([0])
    with pytest.raises(SignalUnusable, match="same vector"):
        score_toward_goal([X], Y, 2 * Y, alpha=0.5)
    with pytest.raises(SignalUnusable, match="zero or not finite"):
        score_toward_goal([X], Y, 0 * Y, alpha=0.5)
    with pytest.raises(SignalUnusable, match="one model"):
        score_toward_goal([X], Y, [1.0, 2.0], alpha=0.5)
    with pytest.raises(SignalUnusable, match="between 0 and 1"):
        score_toward_goal([X], Y, X, alpha=1.5)


def test_texts_are_scored_by_the_embedder_and_an_empty_one_is_not() -> None:
    texts = [
        "A recipe: boil the pasta, fry the garlic, then serve it with cheese.",
        "The court ruled that the appeal of the defendant was inadmissible.",
        " ",
    ]
    scores = score_texts([*texts, texts[0]], "cooking a meal", "a text", alpha=0.5)
    assert scores[0] > scores[1] + 0.1
    assert scores[3] == scores[0]
    assert np.isnan(scores[2])
    assert np.isnan(score_texts([""], "a", "b", alpha=0.5)).all()
    assert len(score_texts([], "a", "b", alpha=0.5)) == 0


def test_rows_say_who_scored_and_leave_nobody_out() -> None:
    responses = pl.DataFrame({"prompt_id": ["p", "p"], "response_id": ["r1", "r2"]})
    rows = check_rows(make_goal_rows(responses, [0.25, np.nan], "kind", "any", alpha=0.5))
    assert [(row["score"], row["valid"]) for row in rows] == [(0.25, True), (None, False)]
    assert rows[0]["annotator"].startswith("signal:goal-baseline:minilm:")
    assert rows[1]["reason"] == "the response has no embedding"
    others = make_goal_rows(responses, [0.25, 0.5], "kind", "any", alpha=0.6)
    assert others[0]["annotator"] != rows[0]["annotator"]
    assert make_goal_rows(responses.clear(), [], "kind", "any", alpha=0.5) == []
    with pytest.raises(SignalUnusable, match="lack the column prompt_id"):
        make_goal_rows(responses.drop("prompt_id"), [0.1, 0.2], "kind", "any", alpha=0.5)
