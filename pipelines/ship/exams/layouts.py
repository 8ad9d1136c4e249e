"""From a row of a public benchmark to an item. The references are the benchmarks' own scripts and
data cards, whose columns are named here.

| set | source | an item is |
|---|---|---|
| RewardBench 2 | github.com/allenai/reward-bench, `rewardbench/utils.py` | a best of 4; `Ties` |
| RewardBench | the same, `rewardbench/constants.py` | a pair |
| RM-Bench | github.com/THU-KEG/RM-Bench, `README.md` | 3 right and 3 wrong responses by style |
| JudgeBench | github.com/ScalerLab/JudgeBench, `utils/metrics.py` | a pair |
| RMB | github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark | a pair, or a best of n |
| PPE | huggingface.co/lmarena-ai, `PPE-*` | a pair of people's; conflict pairs of 32 samples |
| LLMBar | github.com/princeton-nlp/LLMBar, `Dataset/*/dataset.json` | a pair |
| Steps | a layout of this project (`read_steps`) | right chains of steps against wrong ones |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipelines.lake.parts import read_messages
from pipelines.ship.exams.items import STYLES, Chain, Item, Kind

Row = Mapping[str, Any]
Read = Callable[[Row, str, str], Item]
"""(row, key, name of its file) -> item."""

SECTIONS = {
    "Chat": (
        "alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med",
    ),
    "Chat Hard": (
        "mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut", "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous", "refusals-offensive", "xstest-should-refuse",
        "xstest-should-respond", "donotanswer",
    ),
    "Reasoning": (
        "math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust",
    ),
}  # fmt: skip
SECTION_OF = {subset: section for section, subsets in SECTIONS.items() for subset in subsets}
DOMAINS = {
    "mmlu-pro": "Knowledge", "livebench-reasoning": "Reasoning", "livebench-math": "Math",
    "livecodebench": "Coding",
}  # fmt: skip
SIDES = {"A>B": 0, "B>A": 1}
WINNERS = {"model_a": 0, "model_1": 0, "model_b": 1, "model_2": 1}


def read_rewardbench2(row: Row, key: str, _file: str) -> Item:
    """`chosen` (num_correct texts) and `rejected`; the subset `Ties` has ids like `ref:3` and
    `tied:3`, of one question with one right answer and with several."""
    right, wrong = _read_texts(row, "chosen"), _read_texts(row, "rejected")
    subset = _read_text(row, "subset")
    if subset.lower() != "ties":
        return _make_best(row, key, right, wrong, subset, subset)
    part, _, question = key.partition(":")
    if part not in ("ref", "tied") or not question:
        raise ValueError("id of a row of Ties is not ref:N or tied:N")
    if part == "tied" and len(right) < 2:
        raise ValueError("a tied row of Ties with one right answer")
    return _make_item(
        row, key, right + wrong, len(right), subset, subset, "ties",
        question=f"ties:{question}", part=part,
    )  # fmt: skip


def read_rewardbench(row: Row, key: str, _file: str) -> Item:
    """`chosen` and `rejected` (texts); the section follows from `subset`."""
    subset = _read_text(row, "subset")
    sides = [_read_text(row, "chosen")], [_read_text(row, "rejected")]
    return _make_best(row, key, *sides, SECTION_OF.get(subset, "other"), subset)


def read_rmbench(row: Row, key: str, _file: str) -> Item:
    """`chosen` and `rejected`: three texts each, concise, detailed, detailed with Markdown."""
    right, wrong = _read_texts(row, "chosen"), _read_texts(row, "rejected")
    for name, texts in (("chosen", right), ("rejected", wrong)):
        if len(texts) != STYLES:
            raise ValueError(f"{name} does not hold {STYLES} texts, one a style")
    domain = _read_text(row, "domain")
    return _make_item(row, key, right + wrong, STYLES, domain.split("-")[0], domain, "styles")


def read_judgebench(row: Row, key: str, _file: str) -> Item:
    """`response_A`, `response_B` and `label` (A>B or B>A); `source` names where it is from."""
    source = str(row.get("source") or "other")
    category = next((c for start, c in DOMAINS.items() if source.startswith(start)), "other")
    texts = [_read_text(row, "response_A"), _read_text(row, "response_B")]
    return _make_pair(row, key, texts, row.get("label"), SIDES, "label", (category, source),
                      prompt="question")  # fmt: skip


def read_rmb(row: Row, key: str, _file: str) -> Item:
    """A pair (`chosen`, `reject`) or a best of n (`bon_best`, `loser_list`) of answers, as structs
    with `answer`; `category_path` is SET/GOAL/SCENARIO/…."""
    pair = "chosen" in row
    right = [_read_answer(row.get("chosen" if pair else "bon_best"), "the better answer")]
    losers = [row.get("reject")] if pair else row.get("loser_list")
    if not isinstance(losers, list) or not losers:
        raise ValueError("loser_list is not a list of answers")
    wrong = [_read_answer(loser, "a worse answer") for loser in losers]
    path = [part for part in str(row.get("category_path") or "").split("/") if part]
    goal = next((p for p in path if p.lower() in ("helpfulness", "harmlessness")), "other")
    scenario = path[path.index(goal) + 1] if goal in path[:-1] else goal
    category = f"{goal}, {'pairs' if pair else 'best of n'}"
    return _make_best(row, key, right, wrong, category, scenario, prompt="conversation_input")


def read_ppe(row: Row, key: str, file: str) -> Item:
    """Of people: `response_1`, `response_2` and `winner` (ties ask nothing). Of correctness:
    `response_1` to `response_n`, `scores` (right or wrong), and the pairs that are compared in
    `sampled_conflict_pairs` (places from 0; else each right one against each wrong one)."""
    if "winner" in row:
        texts = [_read_text(row, "response_1"), _read_text(row, "response_2")]
        if str(row["winner"]).startswith("tie"):
            raise ValueError("people call it a tie: no side is right")
        language = str(row.get("language") or "preference")
        return _make_pair(row, key, texts, row["winner"], WINNERS, "winner",
                          ("preference", language))  # fmt: skip
    names = sorted(
        (n for n in row if n.startswith("response_") and n.removeprefix("response_").isdigit()),
        key=lambda name: int(name.removeprefix("response_")),
    )
    scores = row.get("scores")
    if not isinstance(scores, list) or len(scores) != len(names):
        raise ValueError("scores does not hold one score a response")
    right = tuple(float(score) > 0.5 for score in scores)
    if len(set(right)) < 2:
        raise ValueError("all responses are right, or all are wrong: nothing to tell apart")
    pairs = _read_conflicts(row.get("sampled_conflict_pairs"), right)
    model = str(row.get("model_name") or file)
    return Item(
        key, _read_prompt(row, "prompt"), tuple(_read_text(row, n) for n in names), right, file,
        model, "pairs", pairs,
    )  # fmt: skip


def read_llmbar(row: Row, key: str, file: str) -> Item:
    """`input`, `output_1`, `output_2` and `label` (1 or 2); the folder of the file is the part."""
    texts = [_read_text(row, "output_1"), _read_text(row, "output_2")]
    part = file.removesuffix("/dataset") if file != "dataset" else "LLMBar"
    return _make_pair(row, key, texts, str(row.get("label")), {"1": 0, "2": 1}, "label",
                      (part, part), prompt="input")  # fmt: skip


def read_steps(row: Row, key: str, file: str) -> Item:
    """`chains`: responses to one prompt, each with `steps` (texts) and, where known, `labels` (1 a
    right or neutral step, -1 a wrong one), `answer` (its final one) and `judged` (numbers from 0 to
    1). A chain is right where its answer is that of the row (`answer`), or, where one of the two is
    not there, where no step of it is wrong. `domain` is the category."""
    chains, right = [], []
    reference = _find_answer(row)
    for value in _read_list(row, "chains"):
        chain = _read_chain(value)
        chains.append(chain)
        if reference is not None and chain.answer is not None:
            right.append(chain.answer == reference)
        elif chain.labels:
            right.append(all(chain.labels))
        else:
            raise ValueError("a chain has neither labels nor an answer to hold against the row's")
    if len(set(right)) < 2:
        raise ValueError("all chains are right, or all are wrong: nothing to tell apart")
    texts = tuple(chain.trace()[-1] for chain in chains)
    category = str(row.get("domain") or file)
    pairs = _read_conflicts(None, tuple(right))
    return Item(key, _read_prompt(row, "prompt"), texts, tuple(right), category, category, "pairs",
                pairs, chains=tuple(chains))  # fmt: skip


READERS: dict[str, Read] = {
    "RewardBench 2": read_rewardbench2,
    "RM-Bench": read_rmbench,
    "JudgeBench": read_judgebench,
    "RMB": read_rmb,
    "PPE": read_ppe,
    "LLMBar": read_llmbar,
    "RewardBench": read_rewardbench,
    "Steps": read_steps,
}
"""By the name of the layout (`pipelines.clean.evaluation_sets.LAYOUTS`)."""


def _make_best(
    row: Row,
    key: str,
    right: list[str],
    wrong: list[str],
    category: str,
    subset: str,
    *,
    prompt: str = "prompt",
) -> Item:
    return _make_item(row, key, right + wrong, len(right), category, subset, "best", prompt=prompt)


def _make_item(
    row: Row,
    key: str,
    texts: list[str],
    right: int,
    category: str,
    subset: str,
    kind: Kind,
    *,
    prompt: str = "prompt",
    question: str = "",
    part: str = "",
) -> Item:
    if not 0 < right < len(texts):
        raise ValueError("there is no right response, or no wrong one")
    flags = tuple(place < right for place in range(len(texts)))
    messages = _read_prompt(row, prompt)
    return Item(key, messages, tuple(texts), flags, category, subset, kind, (), question, part)


def _make_pair(
    row: Row,
    key: str,
    texts: list[str],
    said: Any,
    sides: Mapping[str, int],
    column: str,
    part: tuple[str, str],
    *,
    prompt: str = "prompt",
) -> Item:
    if said not in sides:
        raise ValueError(f"{column} is none of {', '.join(sides)}")
    if sides[said]:
        texts = texts[::-1]
    return _make_best(row, key, texts[:1], texts[1:], *part, prompt=prompt)


def _read_chain(value: Any) -> Chain:
    if not isinstance(value, dict):
        raise ValueError("chains holds something that is no object with steps")
    steps = tuple(_read_texts(value, "steps"))
    labels = _read_list(value, "labels") if value.get("labels") is not None else []
    if any(isinstance(label, bool) or label not in (1, -1) for label in labels):
        raise ValueError("labels holds something other than 1 and -1")
    if labels and len(labels) > len(steps):
        raise ValueError("labels holds more than one a step")
    right = [label == 1 for label in labels]
    if labels and len(labels) < len(steps) and all(right):
        raise ValueError("labels ends before the steps do, and none of them is wrong")
    first = right.index(False) if False in right else len(steps)
    held = tuple(place < first for place in range(len(steps))) if labels else ()
    judged = _read_list(value, "judged") if value.get("judged") is not None else []
    if not all(isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1
               for p in judged):  # fmt: skip
        raise ValueError("judged holds something that is no number from 0 to 1")
    return Chain(steps, held, _find_answer(value), tuple(float(p) for p in judged))


def _find_answer(row: Row) -> str | None:
    value = row.get("answer")
    return None if value is None else str(value).strip()


def _read_list(row: Row, column: str) -> list[Any]:
    value = row.get(column)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{column} is not a list, or an empty one")
    return value


def _read_conflicts(value: Any, right: tuple[bool, ...]) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or not value:
        return tuple(
            (i, j) for i, good in enumerate(right) if good
            for j, other in enumerate(right) if not other
        )  # fmt: skip
    pairs = []
    for places in value:
        if not (isinstance(places, list) and len(places) == 2
                and all(isinstance(p, int) and 0 <= p < len(right) for p in places)):  # fmt: skip
            raise ValueError("sampled_conflict_pairs holds something that is no pair of places")
        i, j = places
        if right[i] == right[j]:
            raise ValueError("sampled_conflict_pairs holds a pair whose scores are equal")
        pairs.append((i, j) if right[i] else (j, i))
    return tuple(pairs)


def _read_prompt(row: Row, column: str) -> tuple[Mapping[str, str], ...]:
    value = row.get(column)
    if isinstance(value, list):
        messages = read_messages(row, column)
        if not any(message["content"].strip() for message in messages):
            raise ValueError(f"{column} is empty")
        return tuple(messages)
    return ({"role": "user", "content": _read_text(row, column)},)


def _read_text(row: Row, column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise ValueError(f"{column} is not text")
    if not value.strip():
        raise ValueError(f"{column} is empty")
    return value


def _read_texts(row: Row, column: str) -> list[str]:
    value = row.get(column)
    if not isinstance(value, list) or not value:
        raise ValueError(f"{column} is not a list of texts")
    if not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError(f"{column} holds something that is no text, or an empty one")
    return value


def _read_answer(value: Any, what: str) -> str:
    text = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{what} is not text")
    return text
