"""What evolution asks of a model: scores of one criterion, and edits of a rubric.

Both are plain callables over a way of holding conversations, so that evolution does not know who
makes the calls, and whether they are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from annotators.asking import Asked, Unreadable, ask, make_request, read_json
from annotators.rubrics.evolve import EDITS, Edit, GoldPair, JudgeScores, Propose, Score
from annotators.rubrics.forms import make_criterion_schema, read_criterion
from annotators.rubrics.judge import RubricJudge, RubricTemplates
from annotators.rubrics.rubric import EVERY, Criterion, Rubric
from annotators.talk import Item, Judge, Row, Talk
from annotators.templates import hash_templates, load_template, render_prompt, render_template
from engines.assets import find_asset
from engines.chat import ChatRequest, ChatResult, Endpoint, stream_results
from engines.models import ResolvedModel
from schemas.ids import make_seed

Hold = Callable[[Judge, Sequence[Item]], Sequence[Row]]
Answer = Callable[[Sequence[ChatRequest]], Sequence[ChatResult]]
EDIT_TOKENS, TEMPERATURE = 768, 0.8
SHOWN_CHARS = 600


def make_scorer(model: ResolvedModel, templates: RubricTemplates, hold: Hold) -> JudgeScores:
    """Scores of one criterion by a rubric judge that knows no other: the mean of its two orders,
    and None where neither could be read.

    A criterion is asked about by itself, so its score does not change with its neighbours, and
    another rubric that has it costs nothing. Judging a whole rubric at once may score otherwise.
    """

    def judge_scores(criterion: Criterion, items: Sequence[Item]) -> list[Score]:
        alone = Rubric("criterion", 1, (EVERY,), (criterion,))
        rows = hold(RubricJudge(model, templates, (alone,), adapt=False), items)
        found: dict[tuple[str, str | None], list[float]] = {}
        for row in rows:
            if row["valid"] and row["criterion"] == criterion.title:
                key = (row["response_a"], row["response_b"])
                found.setdefault(key, []).append(row["score"])
            elif row["valid"] and row["order"] is None:  # a gate decided by itself
                found[row["response_a"], row["response_b"]] = [4 * row["p_a"] - 2]
        scores = [found.get((i.response_ids[0], i.response_ids[1]), []) for i in items]
        return [sum(one) / len(one) if one else None for one in scores]

    return judge_scores


def load_edit_template(base: Path | None = None) -> str:
    """The template that ships, or the one of the same name under `base`.

    Raises:
        engines.assets.AssetMissing, annotators.templates.TemplateBroken
    """
    file = find_asset("judges/rubric_edit.jinja", base)
    return load_template(file, ("count",), criteria=(), mistakes=(), categories=())


def make_proposer(model: ResolvedModel, template: str, answer: Answer, seed: int = 0) -> Propose:
    """Edits by a model that sees the rubric and some pairs that it gets wrong. An answer that
    cannot be read, even when mended, gives no edits. Asked again about a rubric, it is asked with
    another seed."""
    times: Counter[str] = Counter()

    def propose(rubric: Rubric, wrong: Sequence[GoldPair], count: int) -> Sequence[Edit]:
        own_seed = make_seed("edits", seed, rubric.hash, times[rubric.hash])
        times[rubric.hash] += 1
        asked = run_talk(ask_edits(model, template, rubric, wrong, count, own_seed), answer)
        return asked.value or ()

    return propose


def ask_edits(
    model: ResolvedModel,
    template: str,
    rubric: Rubric,
    wrong: Sequence[GoldPair],
    count: int = EDITS,
    seed: int = 0,
) -> Talk[Asked[tuple[Edit, ...]]]:
    """Ask for up to `count` edits of a rubric."""
    text = render_template(
        template,
        count=count,
        criteria=rubric.asked,
        categories=rubric.categories,
        mistakes=[_show_mistake(pair) for pair in wrong],
    )
    sampling = {"temperature": TEMPERATURE, "max_tokens": EDIT_TOKENS, "seed": seed}
    asked: Asked[tuple[Edit, ...]] = yield from ask(
        lambda talk: make_request(
            model,
            talk,
            sampling,
            template=hash_templates(template),
            json_schema=make_edits_schema(count),
        ),
        [{"role": "user", "content": text}],
        lambda result: read_edits(result.text, rubric),
    )
    return asked


def make_edits_schema(count: int) -> dict[str, Any]:
    """A list of up to `count` edits: the action, the number of the criterion (0 for a new one),
    and the criterion as it shall be."""
    edit = {
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ["add", "delete", "modify"]},
            "number": {"type": "integer", "minimum": 0},
            "criterion": make_criterion_schema(),
        },
        "required": ["action", "number"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"edits": {"type": "array", "minItems": 1, "maxItems": count, "items": edit}},
        "required": ["edits"],
        "additionalProperties": False,
    }


def read_edits(text: str, rubric: Rubric) -> tuple[Edit, ...]:
    """The edits that a model proposes.

    Raises:
        Unreadable: no such JSON, an unknown action, or a number that no criterion has.
    """
    content = read_json(text)
    entries = content.get("edits") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise Unreadable("no list under 'edits'")
    return tuple(_read_edit(entry, rubric) for entry in entries)


def run_talk(talk: Talk[Any], answer: Answer) -> Any:
    """Hold one conversation to its end."""
    try:
        requests = next(talk)
        while True:
            requests = talk.send(answer(requests))
    except StopIteration as stop:
        return stop.value


async def answer_requests(requests: Sequence[ChatRequest], endpoint: Endpoint) -> list[ChatResult]:
    """The results of some requests, in their order, kept nowhere.

    Raises:
        engines.chat.ServerUnreachable: no request can succeed.
    """
    async with aclosing(stream_results(endpoint, requests)) as results:
        found = {result.request_id: result async for result in results}
    return [found[request.request_id] for request in requests]


def _read_edit(entry: Any, rubric: Rubric) -> Edit:
    if not isinstance(entry, Mapping) or entry.get("action") not in ("add", "delete", "modify"):
        raise Unreadable(f"an edit must add, delete or modify: {entry!r:.80}")
    action = entry["action"]
    title = ""
    if action != "add":
        number = entry.get("number")
        if not isinstance(number, int) or not 1 <= number <= len(rubric.asked):
            raise Unreadable(f"{action} names criterion {number!r} of {len(rubric.asked)}")
        title = rubric.asked[number - 1].title
    criterion = None if action == "delete" else read_criterion(entry.get("criterion"))
    return Edit(action, title, criterion)


def _show_mistake(pair: GoldPair) -> dict[str, str]:
    texts = [_shorten(text) for text in pair.item.contents]
    better = 0 if pair.p_a >= 0.5 else 1
    verdict = "neither is better" if pair.p_a == 0.5 else "the first is better"
    return {
        "prompt": _shorten(render_prompt(pair.item.messages)),
        "better": texts[better],
        "worse": texts[1 - better],
        "verdict": verdict,
    }


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} […]"
