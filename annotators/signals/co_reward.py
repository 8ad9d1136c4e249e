"""Labels by majority across two views of a question: what most say to x labels the answers to its
paraphrase x', and the other way round.

After Co-Reward (arXiv 2508.00410, first version, equations 6-8; its later version, Co-rewarding,
adds a teacher that trails the model, which is not done here). A majority over one wording shares
that wording's error; a paraphrase may break it, and then the two disagree. For curation a question
is kept only if both views agree and both majorities are large enough.
"""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal

import polars as pl

from annotators.answers import find_answer
from annotators.signals.rows import SignalUnusable, check_columns, make_score_row, name_signal
from annotators.talk import Row

ROLLOUTS = ("prompt_id", "response_id", "answer")
VIEWS = ("prompt_id", "paraphrase_id")
PROMPTS = ("prompt_id", "parent_id", "messages")
_NUMBER = re.compile(r"(?:(?<![\w.)])[-−])?(?:\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)")
_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20,
    "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
    "hundred": 100, "thousand": 1000, "dozen": 12, "half": 0.5, "twice": 2,
}  # fmt: skip
_ASKS = re.compile(
    r"\?|\b(?:what|how|who|which|when|where|why|find|calculate|compute|determine|give|state|name|"
    r"tell|solve|work out|figure out|explain|describe|write|list|show|prove)\b"
)


def keeps_meaning(prompt: str, paraphrase: str) -> bool:
    """Whether `explain_paraphrase` finds no fault."""
    return explain_paraphrase(prompt, paraphrase) is None


def explain_paraphrase(prompt: str, paraphrase: str) -> str | None:
    """What is wrong with a paraphrase: `empty`, `identical` (but for case, spaces and
    punctuation), `numbers_lost`, `numbers_added`, `question_lost`; or None.

    A cheap guard, and only that: of two texts with the same numbers it cannot say whether they ask
    the same. A number in digits must stand in the other text in digits or as one word (`twelve`);
    numbers of several words are not read.
    """
    if not paraphrase.strip():
        return "empty"
    if _list_words(prompt) == _list_words(paraphrase):
        return "identical"
    (ours, all_ours), (theirs, all_theirs) = _find_numbers(prompt), _find_numbers(paraphrase)
    if ours - all_theirs:
        return "numbers_lost"
    if theirs - all_ours:
        return "numbers_added"
    asks = bool(_ASKS.search(prompt.lower()))
    return "question_lost" if asks and not _ASKS.search(paraphrase.lower()) else None


def find_views(prompts: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The questions of which there is a paraphrase: a prompt whose parent is among the prompts, and
    that `explain_paraphrase` finds no fault with. Of several to one question the first by id.

    Args:
        prompts: prompt_id, parent_id (null of most), messages.

    Returns:
        prompt_id, paraphrase_id; and how many of those with a parent are in no view, by reason:
        `no_original`, `further_paraphrase` or what `explain_paraphrase` says.

    Raises:
        SignalUnusable: a column is missing.
    """
    check_columns(prompts, PROMPTS, "prompts")
    texts = {
        prompt_id: "\n".join(message["content"] for message in messages)
        for prompt_id, messages in prompts.select("prompt_id", "messages").iter_rows()
    }
    children = prompts.filter(pl.col("parent_id").is_not_null()).sort("prompt_id")
    rows: list[tuple[str, str]] = []
    taken: set[str] = set()
    left_out: Counter[str] = Counter()
    for prompt_id, parent_id in children.select("prompt_id", "parent_id").iter_rows():
        fault = "no_original"
        if parent_id in texts:
            fault = explain_paraphrase(texts[parent_id], texts[prompt_id]) or ""
        if not fault and taken & {prompt_id, parent_id}:
            fault = "further_paraphrase"
        if fault:
            left_out[fault] += 1
            continue
        taken |= {prompt_id, parent_id}
        rows.append((parent_id, prompt_id))
    return pl.DataFrame(rows, dict.fromkeys(VIEWS, pl.String), orient="row"), dict(left_out)


def read_answer(content: str) -> str | None:
    """The final answer of a response, written so that equal answers are equal texts: without case
    and extra spaces, and a number without commas and idle zeros. None where there is none."""
    text = " ".join(find_answer(content).casefold().split())
    if _NUMBER.fullmatch(text):
        number = Decimal(text.replace(",", "").replace("−", "-"))
        return format(number.normalize(), "f") if number else "0"
    return text or None


def label_views(rollouts: pl.DataFrame, views: pl.DataFrame, *, tau: float) -> pl.DataFrame:
    """The majority answer of either view of each question, and whether they can be trusted.

    Args:
        rollouts: prompt_id, response_id, answer (null where none could be read; compared as text,
            so normalise first).
        views: prompt_id, paraphrase_id: one row a question; each id stands in one row alone.
        tau: the least vote share of either majority. A share is of all rollouts of the view,
            those without an answer included.

    Returns:
        prompt_id, paraphrase_id, label and share (of the answers to the prompt), label_paraphrase,
        share_paraphrase, agree, kept, and reason where not kept: `no_majority` (no answer, or a
        draw), `views_disagree`, `share_below_tau`.

    Raises:
        SignalUnusable: a column is missing, an id stands in two rows of `views`, or tau is outside
            [0, 1].
    """
    check_columns(rollouts, ROLLOUTS, "rollouts")
    check_columns(views, VIEWS, "views")
    if not 0.0 <= tau <= 1.0:
        raise SignalUnusable(f"tau is {tau}; a vote share lies between 0 and 1")
    ids = pl.concat([views["prompt_id"], views["paraphrase_id"]])
    if ids.is_duplicated().any():
        twice = ids.filter(ids.is_duplicated()).sort()[0]
        raise SignalUnusable(f"the prompt {twice} stands in two views; give each one paraphrase")
    majority = _find_majorities(rollouts)
    sides = views.select(VIEWS).join(majority, on="prompt_id", how="left").join(
        majority.select(pl.all().name.suffix("_paraphrase")),
        left_on="paraphrase_id", right_on="prompt_id_paraphrase", how="left",
    )  # fmt: skip
    told = pl.col("label").is_not_null() & pl.col("label_paraphrase").is_not_null()
    agree = told & (pl.col("label") == pl.col("label_paraphrase")).fill_null(False)
    low = pl.min_horizontal("share", "share_paraphrase") < tau
    reason = (
        pl.when(~told).then(pl.lit("no_majority"))
        .when(~agree).then(pl.lit("views_disagree"))
        .when(low).then(pl.lit("share_below_tau"))
    )  # fmt: skip
    return (
        sides.with_columns(
            pl.col("share").fill_null(0.0), pl.col("share_paraphrase").fill_null(0.0)
        )
        .with_columns(agree=agree, kept=reason.is_null(), reason=reason)
        .sort("prompt_id")
    )


def label_rollouts(rollouts: pl.DataFrame, labelled: pl.DataFrame) -> pl.DataFrame:
    """Each rollout with the label that the other view gives it.

    Args:
        labelled: what `label_views` returned. Rollouts of prompts in no view are left out.

    Returns:
        prompt_id, response_id, answer, other_id (the other view), label, right (null without an
        answer or a label), kept, reason; sorted by prompt and response.
    """
    check_columns(rollouts, ROLLOUTS, "rollouts")
    either = [
        labelled.select(prompt_id=own, other_id=other, label=label, kept="kept", reason="reason")
        for own, other, label in (
            ("prompt_id", "paraphrase_id", "label_paraphrase"),
            ("paraphrase_id", "prompt_id", "label"),
        )
    ]
    return (
        rollouts.select("prompt_id", "response_id", _clean_answer())
        .join(pl.concat(either), on="prompt_id")
        .with_columns(right=pl.col("answer") == pl.col("label"))
        .select(
            "prompt_id", "response_id", "answer", "other_id", "label", "right", "kept", "reason"
        )
        .sort("prompt_id", "response_id")
    )


def make_label_pairs(labelled: pl.DataFrame) -> pl.DataFrame:
    """Every response whose answer is the label with every one whose answer is another, of the
    questions that are kept; responses without an answer stand in no pair.

    Args:
        labelled: what `label_rollouts` returned.

    Returns:
        prompt_id, chosen, rejected (response ids), label.
    """
    kept = labelled.filter(pl.col("kept")).unique(
        ("prompt_id", "response_id"), keep="first", maintain_order=True
    )
    right = kept.filter(pl.col("right")).select("prompt_id", "label", chosen="response_id")
    wrong = kept.filter(~pl.col("right")).select("prompt_id", rejected="response_id")
    pairs = right.join(wrong, on="prompt_id")
    return pairs.select("prompt_id", "chosen", "rejected", "label").sort(
        "prompt_id", "chosen", "rejected"
    )


def make_label_rows(labelled: pl.DataFrame, *, tau: float) -> list[Row]:
    """Rows of `judgments`, one a response: 1 where its answer is the label, 0 where it is another;
    not valid where the question is not kept or there is no answer.

    Args:
        labelled: what `label_rollouts` returned, made with `tau`.
    """
    annotator = name_signal("cross-view", {"tau": tau})
    rows = labelled.unique("response_id", keep="first", maintain_order=True)
    return [
        make_score_row(
            annotator,
            row["prompt_id"],
            row["response_id"],
            float(row["right"]) if row["kept"] and row["right"] is not None else None,
            reason=row["reason"] or "no answer could be read",
            criterion="correctness",
            origin=[row["other_id"], row["label"], row["answer"], row["reason"]],
            detail={
                "label": row["label"],
                "answer": row["answer"],
                "labelled_by": row["other_id"],
                "tau": tau,
            },
        )
        for row in rows.iter_rows(named=True)
    ]


def _clean_answer() -> pl.Expr:
    text = pl.col("answer").cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text).alias("answer")


def _find_majorities(rollouts: pl.DataFrame) -> pl.DataFrame:
    """prompt_id, label (null on a draw), share (of all rollouts, 0 without an answer)."""
    votes = (
        rollouts.select("prompt_id", _clean_answer())
        .group_by("prompt_id", "answer")
        .agg(n=pl.len())
        .with_columns(all=pl.col("n").sum().over("prompt_id"))
    )
    leaders = (
        votes.drop_nulls("answer")
        .filter(pl.col("n") == pl.col("n").max().over("prompt_id"))
        .group_by("prompt_id")
        .agg(
            label=pl.when(pl.len() == 1).then(pl.col("answer").first()),
            share=pl.col("n").first() / pl.col("all").first(),
        )
    )
    return rollouts.select("prompt_id").unique().join(leaders, on="prompt_id", how="left")


def _list_words(text: str) -> list[str]:
    return re.findall(r"\w+(?:\.\d+)?", text.lower())


def _find_numbers(text: str) -> tuple[set[float], set[float]]:
    """The numbers in digits, and these with the ones in words."""
    plain = (found.replace(",", "").replace("−", "-") for found in _NUMBER.findall(text))
    digits = {float(found) for found in plain}
    words = {float(_WORDS[word]) for word in _list_words(text) if word in _WORDS}
    return digits, digits | words
