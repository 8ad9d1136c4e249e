"""Show "full": what a reward model learns, every weight of it, that the remedies' labels train.

The product's own trainer (`pipelines.ship.train_worker`, TRL) fine-tunes MiniLM whole, and its own
exam scores prompts held out. One core can afford little: a pool of `PAIRS` pairs, drawn anew for
each seed, one in ten of them gold; texts cut at `PROMPT` and `RESPONSE` tokens, so that the model
sees how responses begin and hardly ever how long they are. All remedies train for equally many
steps, about `EPOCHS` times the pool; what teaches fewer rows (gold alone) goes over them more
often. The same pairs, gold, judges and held-out pairs serve both kinds of noise.

The best single remedies are those of show 1, named before anything was trained here: the majority
for noise towards length, confident learning for symmetric noise. The learning rate was chosen on
clean labels and seed 0.

What was trained once is kept in `loop_full.jsonl` in the Assay home by what taught it and how, so
that a run that was stopped goes on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.loop.noise import spoil
from benchmarks.loop.pools import Pool, split_prompts
from benchmarks.loop.recovery import pair_up
from benchmarks.loop.remedies import (
    Case,
    Lesson,
    keep_clean,
    keep_confident,
    keep_corrupted,
    keep_dedup,
    keep_gold,
    keep_loop,
    keep_majority,
    make_case,
)
from schemas.ids import make_id
from schemas.recipe import TrainSpec

PAIRS, EXAM = 600, 400
PROMPT, RESPONSE = 32, 64  # tokens
EPOCHS = 1
SPEC = TrainSpec(
    epochs=EPOCHS, learning_rate=2e-4, max_length=PROMPT + RESPONSE + 16, labels="soft"
)
LOOP = "the loop, soft labels"
REMEDIES: dict[str, Callable[[Case], Lesson]] = {
    LOOP: keep_loop,
    "dedup": keep_dedup,
    "clean (oracle)": keep_clean,
    "gold alone": keep_gold,
    "majority of the judges": keep_majority,
    "confident learning": keep_confident,
    "corrupted, repeated rows": keep_corrupted,
}
KINDS = ("length", "symmetric")
PLAN = [(kind, remedy) for kind in KINDS for remedy in REMEDIES
        if (kind, remedy) != ("length", "confident learning")]  # fmt: skip
Train = Callable[[list[dict[str, Any]], int, pl.DataFrame], list[float]]


def try_full(
    pool: Pool,
    texts: pl.DataFrame,
    kind: str,
    remedy: str,
    seed: int,
    train: Train,
    *,
    spread: float,
    rate: float = 0.25,
) -> dict[str, Any]:
    """seed, kind, remedy, accuracy (on the prompts held out).

    Args:
        texts: prompt, first, second: of the pairs of `pool`, cut already.
        train: rows of an export, a seed and the exam's texts to the margins of the exam's pairs.
    """
    generator = np.random.default_rng([seed, 8])
    taught, exam = (
        _draw(pool, part, count, generator)
        for part, count in zip(split_prompts(pool, seed), (PAIRS, EXAM), strict=True)
    )
    case = make_twin(pool.take(taught), kind, rate, seed, spread)
    rows = make_rows(REMEDIES[remedy](case), texts[taught.tolist()])
    margins = np.array(train(rows, seed, texts[exam.tolist()]))
    right = np.where(margins == 0, 0.5, (margins > 0) == pool.truth[exam])
    return {"seed": seed, "kind": kind, "remedy": remedy, "accuracy": float(right.mean())}


def make_twin(pool: Pool, kind: str, rate: float, seed: int, spread: float) -> Case:
    """A spoiled pool whose gold and judges are the same whatever the kind of noise."""
    generator = np.random.default_rng([seed, 9, *map(ord, kind)])
    spoiled = spoil(pool, kind, rate, generator)
    return make_case(spoiled, seed, np.random.default_rng([seed, 10]), spread=spread)


def make_rows(lesson: Lesson, texts: pl.DataFrame) -> list[dict[str, Any]]:
    """What a lesson teaches, as the rows of an export: a row of weight 2 is there twice, all in an
    order by chance. None is called gold, or the trainer would set some of it apart."""
    times = lesson.weight.astype(int)
    order = np.random.default_rng(len(times)).permutation(np.repeat(np.arange(len(times)), times))
    sides = texts.select("prompt", "first", "second").rows()
    rows = []
    for place in order.tolist():
        prompt, *responses = sides[place]
        p = float(lesson.target[place])
        chosen, rejected = responses if p >= 0.5 else responses[::-1]
        sure = max(p, 1 - p)
        rows.append({
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "probability": sure, "margin": 2 * sure - 1, "weight": 1.0, "tier": "silver",
        })  # fmt: skip
    return rows


def train_kept(cache: Path) -> Train:
    """`train_and_score`, or what it gave before for the same rows, seed and exam."""

    def train(rows: list[dict[str, Any]], seed: int, exam: pl.DataFrame) -> list[float]:
        key = make_id("full", rows, seed, exam.to_dicts(), SPEC.model_dump(mode="json"), PAIRS)
        lines = cache.read_text().splitlines() if cache.exists() else []
        known = {row["key"]: row["margins"] for row in map(json.loads, lines)}
        if key not in known:
            known[key] = train_and_score(rows, seed, exam)
            with cache.open("a") as file:
                file.write(json.dumps({"key": key, "margins": known[key]}) + "\n")
        return list(known[key])

    return train


def train_and_score(rows: list[dict[str, Any]], seed: int, exam: pl.DataFrame) -> list[float]:
    """Train on the rows for as many steps as `EPOCHS` times `PAIRS` rows take; the margins of the
    first response over the second."""
    import datasets

    from pipelines.ship.rewards import score_responses
    from pipelines.ship.train_worker import train

    with tempfile.TemporaryDirectory() as place:
        data, out = Path(place) / "data", Path(place) / "model"
        made = datasets.Dataset.from_list(rows)
        datasets.DatasetDict({"train": made}).save_to_disk(str(data))
        epochs = SPEC.epochs * PAIRS / len(rows)
        job = {**SPEC.model_dump(mode="json"), "data": str(data), "out": str(out), "seed": seed,
               "epochs": epochs}  # fmt: skip
        train(job)
        questions = [
            ([{"role": "user", "content": prompt}], (first, second))
            for prompt, first, second in exam.select("prompt", "first", "second").iter_rows()
        ]
        rewards, _ = score_responses(out, questions, SPEC.max_length)
    return [float(first - second) for first, second in rewards]


def cut_texts(rows: pl.DataFrame, truth: NDArray[np.bool_]) -> pl.DataFrame:
    """prompt, first, second: the texts of a pool's pairs as its sides were laid, cut at `PROMPT`
    and `RESPONSE` tokens.

    Args:
        rows: prompt, better, worse, as `benchmarks.loop.pools` read them.
    """
    from transformers import AutoTokenizer

    from engines.embedder import find_minilm

    tokenizer = AutoTokenizer.from_pretrained(str(find_minilm()))

    def cut(texts: pl.Series, most: int) -> list[str]:
        read = tokenizer(texts.to_list(), add_special_tokens=False, truncation=True,
                         max_length=most, return_offsets_mapping=True)  # fmt: skip
        ends = [spans[-1][1] if spans else 0 for spans in read["offset_mapping"]]
        return [text[:end] for text, end in zip(texts, ends, strict=True)]

    better, worse = (np.array(cut(rows[side], RESPONSE), dtype=object)
                     for side in ("better", "worse"))  # fmt: skip
    return pl.DataFrame({
        "prompt": cut(rows["prompt"], PROMPT),
        "first": np.where(truth, better, worse).tolist(),
        "second": np.where(truth, worse, better).tolist(),
    })  # fmt: skip


def tabulate_full(trials: pl.DataFrame) -> pl.DataFrame:
    """A row a kind and remedy that was tried: seeds, accuracy, ± (half its 95 % interval over
    seeds), loop_gains (the loop's less this one's, paired over the seeds that both have), low,
    high."""
    rows = []
    for kind in [kind for kind in KINDS if kind in set(trials["kind"])]:
        wide = trials.filter(pl.col("kind") == kind).pivot(
            "remedy", index="seed", values="accuracy"
        )
        for remedy in [name for name in REMEDIES if name in wide.columns]:
            mine = wide[remedy].drop_nulls().to_numpy()
            mean, half = pair_up(mine)
            gain, wide_half = pair_up((wide[LOOP] - wide[remedy]).drop_nulls().to_numpy())
            rows.append({"kind": kind, "remedy": remedy, "seeds": len(mine), "accuracy": mean,
                         "±": half, "loop_gains": gain, "low": gain - wide_half,
                         "high": gain + wide_half})  # fmt: skip
    return pl.DataFrame(rows)


def _draw(pool: Pool, part: Pool, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The places in `pool` of some pairs of `part`, which holds some of its prompts whole."""
    mine = np.flatnonzero(np.isin(pool.prompts, np.unique(part.prompts)))
    return np.sort(generator.permutation(mine)[:count])
