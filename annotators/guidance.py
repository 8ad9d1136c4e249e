"""What a judge is told beside the pair: the guideline of its category, what the request is like,
and how people decided similar pairs.

Human gold in the judge's prompt is what its accuracy gains most by in Skywork-Reward-V2
(arXiv 2507.01352, sections 3.2 and 4.4, appendix D.3: at most eight pairs with their attributes at
the end of the guideline). The code of that curation is not public; this is a re-implementation with
words of its own.

The words are part of the item (`annotators.talk.Guidance`), so that what a judge asks still follows
from the item alone; how they are chosen is part of the judge (`Guide`), and so of its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from annotators.talk import Guidance, Item
from annotators.templates import hash_templates, render_prompt, render_template
from schemas.ids import make_id, make_seed

CHARS_A_TOKEN = 4  # of English; other languages take more tokens, and so get fewer characters each
ATTRIBUTES = {
    "task_category": "Task", "objectivity": "Objectivity",
    "controversiality": "Controversiality", "desired_attributes": "Desired attributes",
}  # fmt: skip
FIRST, SECOND, TIE = "Candidate 1 is better.", "Candidate 2 is better.", "Neither is better."


@dataclass(frozen=True)
class Guide:
    """How a judge is guided.

    `template` shows the `guideline` of the pair's category (of `guidelines`, `*` for any other),
    what is known `about` the request, and the `examples`: at most so many pairs of gold, in at most
    so many `tokens` (of four characters). `writer` is who describes the pairs, where somebody does;
    `embedder` makes the vectors that tell which are similar.
    """

    template: str
    guidelines: Mapping[str, str]
    writer: str | None = None
    examples: int = 0
    tokens: int = 2048
    embedder: str = ""

    @cached_property
    def specification(self) -> dict[str, Any]:
        """All that the choice of the words depends on but for the lake's gold and attributes, which
        grow: which pair was shown what stands in its judgments."""
        shown = {"examples": self.examples, "tokens": self.tokens, "embedder": self.embedder}
        return {
            "template": self.template,
            "guidelines": make_id("guidelines", dict(self.guidelines)),
            "writer": self.writer,
            **(shown if self.examples else {}),
        }


@dataclass(frozen=True)
class Example:
    """A pair of gold as a judge sees it; `pair_id` names it, and `text` is all of it."""

    pair_id: str
    text: str


def show_attributes(attributes: Mapping[str, Any] | None) -> str:
    """A row of the table `attributes` in words, without its guideline; empty where there is none.

    The difference between the responses is left out: its writer may have taken a side.
    """
    lines = []
    for key, name in ATTRIBUTES.items():
        value = (attributes or {}).get(key)
        if value:
            lines.append(f"{name}: {value if isinstance(value, str) else ', '.join(value)}.")
    return " ".join(lines)


def make_example(item: Item, p_a: float, attributes: Mapping[str, Any] | None) -> Example:
    """A pair of gold with the side that gold takes (`p_a` above, at or below a half). Which of its
    responses is Candidate 1 follows from the pair's id: it is the same to every judge and pair."""
    places = (0, 1) if make_seed("example", item.target) % 2 else (1, 0)
    first, second = (item.contents[place] for place in places)
    said = TIE if p_a == 0.5 else FIRST if (p_a > 0.5) == (places == (0, 1)) else SECOND
    described = show_attributes(attributes)
    parts = [
        f"Request:\n{render_prompt(item.messages)}",
        f"Candidate 1:\n{first}",
        f"Candidate 2:\n{second}",
        *([f"Attributes: {described}"] if described else []),
        f"Verdict: {said}",
    ]
    return Example(item.target, "\n".join(parts))


def fits(example: Example, guide: Guide) -> bool:
    """Whether an example alone is within the budget of tokens; one that is not is never shown."""
    return len(example.text) <= guide.tokens * CHARS_A_TOKEN


def cut_examples(examples: Sequence[Example], guide: Guide) -> list[Example]:
    """The first `guide.examples` of those given (the most similar first), the last of them left out
    until all are within the budget of tokens."""
    kept = list(examples[: guide.examples])
    while sum(len(example.text) for example in kept) > guide.tokens * CHARS_A_TOKEN:
        kept.pop()
    return kept


def make_guidance(
    guide: Guide, item: Item, attributes: Mapping[str, Any] | None, examples: Sequence[Example]
) -> Guidance:
    """What a judge is told with an item.

    Args:
        attributes: the row of `attributes` on the item, where somebody described it.
        examples: those of `cut_examples`.
    """
    described = show_attributes(attributes)
    own = (attributes or {}).get("guideline")
    text = render_template(
        guide.template,
        guideline=guide.guidelines.get(item.category, guide.guidelines["*"]),
        about="\n".join([described, *([f"Guideline: {own}"] if own else [])]) if described else "",
        examples=[example.text for example in examples],
    )
    return Guidance(text, hash_templates(text), tuple(example.pair_id for example in examples))
