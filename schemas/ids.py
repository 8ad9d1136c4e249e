"""Content ids: BLAKE2b over canonical JSON of NFC text.

Two processes that mean the same thing make the same id, whatever the key order, the Unicode
form of the text or the Python that runs them. Only the *id* sees NFC text; stored content
keeps its bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

ID_BYTES = 16

Message = Mapping[str, Any]


def canonical_json(value: Any) -> str:
    """Write a JSON value in the one form that ids are made from.

    Keys are sorted after NFC, text is NFC, separators carry no spaces, and a float with an
    integral value is written as the integer it equals (so that `1` and `1.0` agree, as in
    RFC 8785).

    Raises:
        ValueError: NaN or infinity, text that is not valid Unicode (a lone surrogate), or two
            keys that are one after NFC.
        TypeError: a value that JSON has no form for.
    """
    return json.dumps(
        _normalise(value),
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )


def make_id(kind: str, *parts: Any) -> str:
    """Hash `parts` to 32 hex digits; `kind` keeps ids of different things apart.

    Raises:
        ValueError, TypeError: see `canonical_json`.
    """
    text = canonical_json([kind, *parts])
    return hashlib.blake2b(text.encode(), digest_size=ID_BYTES).hexdigest()


def make_prompt_id(
    messages: Sequence[Message],
    tools: Sequence[Any] = (),
    payload_hashes: Sequence[str] = (),
) -> str:
    """Id of a conversation up to the response: messages (a system prompt is the first), tools,
    and the hashes of non-text payloads."""
    return make_id("prompt", list(messages), list(tools), list(payload_hashes))


def make_response_id(prompt_id: str, content: str) -> str:
    """Id of one answer to one prompt. Equal content from two policies is one response."""
    return make_id("response", prompt_id, content)


def make_pair_id(prompt_id: str, response_1: str, response_2: str) -> str:
    """Id of an unordered pair of responses, so that a mirrored pair is the same pair."""
    first, second = sorted((response_1, response_2))
    return make_id("pair", prompt_id, first, second)


def make_judgment_id(
    annotator: str,
    target: str,
    *,
    criterion: str | None,
    order: str | None,
    sample_index: int,
    origin: str,
) -> str:
    """Id of one opinion.

    Args:
        annotator: who said it.
        target: the pair id, or the response id of a pointwise opinion.
        criterion: the rubric criterion, if the opinion is about one.
        order: `ab` or `ba`, which response was shown first; None where order has no meaning.
        sample_index: which of several samples of the same judge.
        origin: the request id of a model call, or the source row of an imported opinion.
    """
    return make_id("judgment", annotator, target, criterion, order, sample_index, origin)


def make_request_id(
    *,
    model: str,
    revision: str,
    messages: Sequence[Message],
    sampling: Mapping[str, Any],
    template: str = "",
    schema: Any = None,
    order: str | None = None,
    sample_index: int = 0,
) -> str:
    """Id of a model call: a hash of everything that can change its answer.

    Args:
        model: the name the server knows the model by.
        revision: which weights; the same name with other weights is another call.
        messages: the whole conversation sent, system prompt included.
        sampling: temperature, top_p, max_tokens, seed, stop, logprobs and the like.
        template: hash of the template text that made the messages (templates may change in
            ways that the rendered text of one row does not show).
        schema: the JSON schema or the choices that constrain the answer.
        order: `ab` or `ba` where two responses are shown.
        sample_index: which of several samples under one setting.
    """
    return make_id(
        "request",
        model,
        revision,
        template,
        list(messages),
        dict(sampling),
        schema,
        order,
        sample_index,
    )


def hash_text(text: str) -> str:
    """Hash a text byte for byte (templates, files already decoded), without NFC."""
    return hashlib.blake2b(text.encode(), digest_size=ID_BYTES).hexdigest()


def make_fingerprint(rows: Iterable[Any]) -> str:
    """Hash a set of rows whatever their order: canonical JSON of each, sorted, then hashed.

    Leave run ids, times and costs out of the rows: a fingerprint speaks of content.
    """
    digest = hashlib.blake2b(digest_size=ID_BYTES)
    for line in sorted(canonical_json(row) for row in rows):
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def make_seed(*parts: Any) -> int:
    """A 31-bit sampling seed that follows from `parts`, the same in every process."""
    return int(make_id("seed", *parts)[:8], 16) & 0x7FFFFFFF


def make_seeds(names: Iterable[str], *parts: Any) -> list[int]:
    """`make_seed(*parts, name)` of each name, for hundreds of thousands of them."""
    head = canonical_json(["seed", *parts])[:-1] + ","
    found = []
    for name in names:
        text = f"{head}{encode_basestring(_normalise_text(name))}]"
        digest = hashlib.blake2b(text.encode(), digest_size=ID_BYTES).digest()
        found.append(int.from_bytes(digest[:4], "big") & 0x7FFFFFFF)
    return found


def _normalise(value: Any) -> Any:
    if isinstance(value, str):
        return _normalise_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in an id: JSON knows no NaN or infinity")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        out = {_normalise_text(key): _normalise(item) for key, item in value.items()}
        if len(out) != len(value):
            raise ValueError("two keys are the same text after NFC normalisation")
        return out
    if isinstance(value, list | tuple):
        return [_normalise(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def _normalise_text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"a key must be text, not {type(text).__name__}")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text is not valid Unicode: {error.reason}") from error
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
