"""Tokenizers by name, without the model behind them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from engines.embedder import MINILM, find_minilm
from engines.models import ensure_embedded
from schemas.part import EMBEDDED


@lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Callable[[str], list[int]]:
    """What turns a text into token ids, special tokens left out.

    Args:
        name: `minilm`, `embedded`, a checkpoint folder or a hub id.
    """
    from transformers import AutoTokenizer

    places = {MINILM: find_minilm, EMBEDDED: ensure_embedded}
    tokenizer = AutoTokenizer.from_pretrained(str(places[name]()) if name in places else name)

    def encode(text: str) -> list[int]:
        encoded = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
        return list(map(int, encoded["input_ids"]))

    return encode
