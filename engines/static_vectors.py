"""Vectors without a forward pass: a model's own token vectors, weighted and averaged.

They cost a tokenisation, some hundred times less than the model, and are good for ruling out: a
text whose static vector is far from all references is no paraphrase of one. Tokens weigh by their
rarity among the references, and the references' mean is taken away (Arora et al. 2017, SIF, in
spirit), so that what references of one kind share brings no stranger near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.embedder import MINILM, load_embedder

BLOCK = 4096
PRIOR_TOKENS = 2_000
"""For how many tokens of references the mean of the vocabulary stands: the mean of a few references
is what tells them from others, and must not be taken away."""


@dataclass(frozen=True)
class StaticEmbedder:
    """A vector for each token of a vocabulary, (tokens, dimensions), and what parts texts."""

    table: npt.NDArray[np.float32]
    tokenizer: Any
    window: int

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dimensions), each row of length 1 (of length 0 where there is no token)."""
        blocks = [
            _count(self, texts[at : at + BLOCK]) @ self.table for at in range(0, len(texts), BLOCK)
        ]
        found = np.concatenate([np.zeros((0, self.table.shape[1]), np.float32), *blocks])
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        unit: npt.NDArray[np.float32] = found / np.maximum(lengths, np.float32(1e-9))
        return unit


def fit_static(references: Sequence[str], model: str = MINILM) -> StaticEmbedder:
    """Static vectors for finding what is close to `references`."""
    encoder = load_embedder(model)
    weights = encoder[0].model.get_input_embeddings().weight
    table: npt.NDArray[np.float32] = weights.detach().float().numpy()
    plain = StaticEmbedder(table, encoder.tokenizer, int(encoder.max_seq_length or 512))
    seen, total = np.zeros(len(table)), np.zeros(len(table))
    for at in range(0, len(references), BLOCK):
        counts = _count(plain, references[at : at + BLOCK])
        seen += np.asarray((counts > 0).sum(axis=0)).ravel()
        total += np.asarray(counts.sum(axis=0)).ravel()
    rarity = np.log((len(references) + 1) / (seen + 0.5)).clip(0.1)
    own = total @ table + PRIOR_TOKENS * table.mean(axis=0)
    mean = own / (total.sum() + PRIOR_TOKENS)
    scaled = ((table - mean) * rarity[:, None]).astype(np.float32)
    return StaticEmbedder(scaled, plain.tokenizer, plain.window)


def _count(embedder: StaticEmbedder, texts: Sequence[str]) -> Any:
    """How often each token stands in each text, as a sparse matrix."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    parted = embedder.tokenizer(
        list(texts), add_special_tokens=False, truncation=True, max_length=embedder.window
    )["input_ids"]
    ends = np.cumsum([0, *(len(ids) for ids in parted)])
    tokens = np.fromiter(chain.from_iterable(parted), dtype=np.int64, count=int(ends[-1]))
    shape = (len(texts), len(embedder.table))
    return csr_matrix((np.ones(len(tokens), np.float32), tokens, ends), shape=shape)
