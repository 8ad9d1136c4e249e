"""What a request asks for, and what sets its two responses apart: no verdict, a description.

The five attributes are those of Skywork-Reward-V2 (arXiv 2507.01352: task category, objectivity,
controversiality, desired attributes, annotation guideline). The difference between the responses is
what its authors name as the missing annotation and left for later. The paper has no public code:
this is a re-implementation with words of its own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotators.asking import Asked, Messages, Unreadable, ask, make_request
from annotators.assessments import CHARS_A_TOKEN, read_object
from annotators.pairwise import choose_orders
from annotators.talk import Item, Row, Talk, name_annotator
from annotators.templates import hash_templates, render_prompt, render_template
from engines.chat import ChatRequest
from engines.models import ResolvedModel
from schemas.ids import make_id

OBJECTIVITY = ("objective", "subjective")
CONTROVERSIALITY = ("low", "medium", "high")
KINDS = (
    "correctness", "completeness", "instructions", "relevance", "reasoning", "clarity", "length",
    "style", "format", "safety",
)  # fmt: skip
MOST_ATTRIBUTES, MOST_DIFFERENCES = 5, 3
LONG_CHARS = 240
FRAME_TOKENS = 120  # the keys, brackets and white space of an answer
_NEGATED = re.compile(r"\b(?:not|non|neither|no|nor)\b", re.IGNORECASE)
_NAMED = re.compile(r"\b(?:the )?(first|second) (?:answer|response)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Description:
    """What was said of an item; `differences` are (kind, what A does, what B does)."""

    task_category: str
    objectivity: str
    controversiality: str
    desired_attributes: tuple[str, ...]
    guideline: str
    differences: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class AttributeWriter:
    """Who describes pairs and prompts. It judges nothing: its rows are of the table `attributes`.

    `template` shows `prompt`, the `reference` answer where there is one, and of a pair `first` and
    `second` (None for a prompt by itself) and the `kinds` of difference.
    """

    model: ResolvedModel
    template: str
    max_tokens: int = 1024

    @property
    def annotator(self) -> str:
        """See `annotators.talk.name_annotator`."""
        return name_annotator("attributes", self.model, self.specification)

    @property
    def specification(self) -> dict[str, Any]:
        """All that its words depend on, as JSON."""
        return {
            "method": "attributes",
            "model": self.model.name,
            "revision": self.model.revision,
            "template": self.template,
            "max_tokens": self.max_tokens,
            "kinds": list(KINDS),
        }

    def talk(self, item: Item) -> Talk[list[Row]]:
        """One row. A pair is described with its difference, any other item as a prompt alone,
        without its responses. Which response of a pair is shown first follows from the pair's id;
        the difference calls them A and B by their ids' order."""
        order = choose_orders("random", item)[0] if len(item.contents) == 2 else None
        text = self._render(item, order)
        asked: Asked[Description] = yield from ask(
            lambda talk: self._make(talk, order),
            [{"role": "user", "content": text}],
            lambda result: read_description(result.text, order),
        )
        return [self._note(item, order, asked)]

    def _render(self, item: Item, order: str | None) -> str:
        first = second = None
        if order is not None:
            first, second = item.contents if order == "ab" else reversed(item.contents)
        return render_template(
            self.template,
            prompt=render_prompt(item.messages),
            reference=item.answer,
            first=first,
            second=second,
            kinds=KINDS,
        )

    def _make(self, messages: Messages, order: str | None) -> ChatRequest:
        return make_request(
            self.model,
            messages,
            {"temperature": 0.0, "max_tokens": self.max_tokens},
            template=hash_templates(self.template),
            json_schema=make_schema(order is not None, self.max_tokens),
            order=order,
        )

    def _note(self, item: Item, order: str | None, asked: Asked[Description]) -> Row:
        said = asked.value
        last = asked.results[-1]
        target = item.prompt_id if order is None else item.target
        differences = said.differences if said else ()
        return {
            "attributes_id": make_id(
                "attributes", self.annotator, target, last.request_id, last.error
            ),
            "target": target,
            "prompt_id": item.prompt_id,
            "annotator": self.annotator,
            "task_category": said.task_category if said else None,
            "objectivity": said.objectivity if said else None,
            "controversiality": said.controversiality if said else None,
            "desired_attributes": list(said.desired_attributes) if said else None,
            "guideline": said.guideline if said else None,
            "difference": "\n".join(f"{kind}: A: {a} B: {b}" for kind, a, b in differences) or None,
            "difference_kinds": list(dict.fromkeys(kind for kind, _, _ in differences)) or None,
            "valid": said is not None,
            "reason": asked.reason,
            "raw": last.text,
            "tokens_in": sum(r.tokens_in or 0 for r in asked.results),
            "tokens_out": sum(r.tokens_out or 0 for r in asked.results),
            "seconds": sum(r.seconds for r in asked.results),
            "request_id": last.request_id,
        }


def make_schema(pair: bool, max_tokens: int) -> dict[str, Any]:
    """The JSON of a description; of a pair with its differences. Its texts are so short that it
    fits in `max_tokens`."""
    left = max_tokens - FRAME_TOKENS
    chars = max(48, min(LONG_CHARS, CHARS_A_TOKEN * left // (3 + 2 * MOST_DIFFERENCES)))
    short = {"type": "string", "minLength": 1, "maxLength": chars // 3}
    long = {"type": "string", "minLength": 1, "maxLength": chars}
    properties: dict[str, Any] = {
        "task_category": short,
        "objectivity": {"type": "string", "enum": list(OBJECTIVITY)},
        "controversiality": {"type": "string", "enum": list(CONTROVERSIALITY)},
        "desired_attributes": {
            "type": "array", "minItems": 1, "maxItems": MOST_ATTRIBUTES, "items": short
        },
        "guideline": long,
    }  # fmt: skip
    if pair:
        kind = {"type": "string", "enum": list(KINDS)}
        properties["differences"] = {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_DIFFERENCES,
            "items": _close({"kind": kind, "first": long, "second": long}),
        }
    return _close(properties)


def read_description(text: str, order: str | None) -> Description:
    """The description in an answer.

    Args:
        order: `ab` or `ba`, which response was shown first; None of a prompt by itself.

    Raises:
        Unreadable: no such JSON, or a field that is missing, empty or none of its values.
    """
    content = read_object(text)
    fields = {re.sub(r"[\s-]+", "_", str(key).strip().lower()): content[key] for key in content}
    return Description(
        task_category=_read_text(fields, "task_category").lower(),
        objectivity=find_nearest(_read_text(fields, "objectivity"), OBJECTIVITY),
        controversiality=find_nearest(_read_text(fields, "controversiality"), CONTROVERSIALITY),
        desired_attributes=_read_list(fields, "desired_attributes"),
        guideline=_read_text(fields, "guideline"),
        differences=() if order is None else _read_differences(fields.get("differences"), order),
    )


def find_nearest(text: str, options: Sequence[str]) -> str:
    """The one of `options` that a word of `text` is, or nearly is.

    Raises:
        Unreadable: none, several, or a negation.
    """
    near: set[str] = {
        match
        for word in re.findall(r"[^\W_]+", text.lower())
        for match in difflib.get_close_matches(word, options, n=1, cutoff=0.75)
    }
    if len(near) != 1 or _NEGATED.search(text):
        raise Unreadable(f"{text[:40]!r} is none of {', '.join(options)}")
    return near.pop()


def _read_differences(value: Any, order: str) -> tuple[tuple[str, str, str], ...]:
    if not isinstance(value, list) or not value:
        raise Unreadable("no list under 'differences'")
    found = []
    for entry in value[:MOST_DIFFERENCES]:
        if not isinstance(entry, dict):
            raise Unreadable(f"a difference must be an object: {entry!r:.80}")
        kind = _read_text(entry, "kind").lower()
        nearest = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.75)
        first, second = (_name(_read_text(entry, key), order) for key in ("first", "second"))
        a, b = (first, second) if order == "ab" else (second, first)
        found.append((nearest[0] if nearest else kind, a, b))
    return tuple(found)


def _name(text: str, order: str) -> str:
    """A text that calls the responses A and B, not by the place where they were shown."""
    letters = dict(zip(("first", "second"), "AB" if order == "ab" else "BA", strict=True))
    return _NAMED.sub(lambda found: letters[found[1].lower()], text)


def _read_text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable(f"no text under {key!r}")
    return value.strip()


def _read_list(fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = fields.get(key)
    parts = re.split(r"[,;\n]", value) if isinstance(value, str) else value
    entries = parts if isinstance(parts, list) else []
    texts = [part.strip() for part in entries if isinstance(part, str) and part.strip()]
    if not texts:
        raise Unreadable(f"no list of texts under {key!r}")
    return tuple(texts)


def _close(properties: dict[str, Any]) -> dict[str, Any]:
    """An object that has these properties, all of them and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
