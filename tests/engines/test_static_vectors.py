"""Static vectors: cheap, and close where the model's own vectors are."""

from __future__ import annotations

import numpy as np
import pytest

from engines.static_vectors import fit_static

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedder")]  # loads torch and weights

REFERENCES = [
    "How many apples does Anna have left?",
    "How many miles does the train drive in an hour?",
    "How many eggs does the duck lay in a week?",
]


def test_texts_are_unit_vectors_in_their_order_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    static = fit_static(REFERENCES)
    texts = [*REFERENCES, "", "zoo " * 2_000, "Anna eats an apple."]
    found = static.embed(texts)
    assert found.shape == (6, static.table.shape[1]) and found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1)
    assert lengths[3] == 0 and lengths[[0, 1, 2, 4, 5]] == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr("engines.static_vectors.BLOCK", 2)
    assert np.allclose(static.embed(texts), found, atol=1e-5)
    assert np.allclose(fit_static(REFERENCES).table, static.table, atol=1e-5)


def test_what_all_references_share_brings_nobody_near() -> None:
    nouns = ("apple", "egg", "train", "river", "teacher", "shirt", "coin", "garden", "song", "hat")
    known = [f"How many {n}s does Anna have in her {m}?" for n in nouns for m in nouns if n != m]
    static = fit_static(known)
    apple, egg = static.embed([known[0], known[9]])
    shared, near = static.embed(["How many does Anna have in her?", "An apple for the egg."])
    assert near @ apple > 0.1 > shared @ apple
    assert near @ egg > shared @ egg


def test_no_references_and_no_texts() -> None:
    static = fit_static([])
    assert static.embed([]).shape == (0, static.table.shape[1])
    assert np.isfinite(static.embed(["Anna"])).all()
