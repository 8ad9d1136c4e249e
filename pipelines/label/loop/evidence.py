"""What speaks of a pool: the label each pair came with, who gave it, the voices, and the gold that
teaches.

Gold is what `annotators.gold` says. Of it the pairs of the train side teach; those of the test side
are the exam (`pipelines.lake.teaching`), and nothing here ever looks at what they say: to the loop
they are pairs like others.

Voices are, each by its annotator: the recipe's judges (in both orders, where order matters),
verdicts and scores that came with a pool from machines, signals and other reward models. A voice is
heard that spoke on `LEAST_HEARD` gold pairs at least, for who says nothing there cannot be weighed.
The label is a pool's, or that of its people where the gold is somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.gold import OF_POOL, select_gold, settle_gold
from annotators.loop.stacking import LEAST_GOLD
from annotators.loop.trust import band_lengths
from annotators.signals.compare import compare_scores
from annotators.votes import PAIR, call_label
from pipelines.label.people.counting import PEOPLE
from pipelines.label.policies import collect_pairwise
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.teaching import on_train

Array = NDArray[np.float64]
MACHINES = ("llm", "judges_of_pool", "reward_model")
LABEL = "label_of_pool"
LEAST_HEARD = 20  # gold pairs
LEAST_OF_CATEGORY = 20  # gold pairs, for a precision of its own
SEVERAL = "several"
FIRST_GOLD = "first_gold"  # why a review was queued: a pair drawn at random, for want of any gold


@dataclass(frozen=True, eq=False)
class Evidence:
    """What `gather_evidence` found.

    Attributes:
        pairs: pair_id, prompt_id, response_a, response_b, cluster_id, category, source, split,
            came (p_a of the label it came with, or null), giver (whose label), length (see
            `annotators.loop.trust.band_lengths`), truth (of the gold that teaches, else null) and
            sample (gold that was not chosen by need, and so may weigh the voices); by pair_id.
        judges, said: the voices heard, and what each says: (pairs, judges), NaN for nothing.
        spoken: pair_id, annotator, p_a of voices and labels together.
        notices: what is odd about this gold and these voices, for people.
    """

    pairs: pl.DataFrame
    judges: tuple[str, ...]
    said: Array
    spoken: pl.DataFrame
    notices: tuple[str, ...]

    @property
    def truth(self) -> Array:
        """(pairs), NaN where no gold teaches."""
        return _to_array(self.pairs["truth"])

    @property
    def came(self) -> Array:
        """(pairs), NaN where a pair came with no label."""
        return _to_array(self.pairs["came"])

    def list_inputs(self) -> pl.Series:
        """A text for each pair of all that a reading of it depends on."""
        said = pl.DataFrame({f"said_{at}": self.said[:, at] for at in range(len(self.judges))})
        every = pl.concat([self.pairs, said], how="horizontal") if len(self.judges) else self.pairs
        known = ("pair_id", "cluster_id", "source", "came", "giver", "length", "truth", "sample")
        return every.select(
            pl.concat_str(
                [pl.col(name).cast(pl.String).fill_null("") for name in (*known, *said.columns)],
                separator=":",
            )
        ).to_series()


def find_drawn(lake: Lake | PastLake) -> pl.Series:
    """The pairs about which people were asked because they were drawn at random."""
    found = lake.query(
        "SELECT DISTINCT pair_id FROM reviews WHERE reason = ? ORDER BY pair_id", [FIRST_GOLD]
    )
    return found["pair_id"]


def gather_evidence(
    judgments: pl.DataFrame,
    pairs: pl.DataFrame,
    prompts: pl.DataFrame,
    contents: pl.DataFrame,
    drawn: pl.Series | None = None,
) -> Evidence:
    """All that speaks of the pairs that no verifier decides.

    Args:
        judgments: of `pipelines.label.labelling.find_judgments`.
        pairs: pair_id, prompt_id, response_a, response_b, basis.
        prompts: prompt_id, cluster_id, category, source, split.
        contents: response_id, content.
        drawn: of `find_drawn`; gold of people on any other pair was chosen by need.
    """
    asked = pairs.filter(pl.col("basis") != "verifier").select("pair_id", "prompt_id", *PAIR)
    placed = asked.join(
        prompts.select("prompt_id", "cluster_id", "category", "source", "split"), on="prompt_id"
    ).sort("pair_id")
    scored = compare_scores(judgments, placed)
    opinions = collect_pairwise(placed, pl.concat([judgments, scored]))
    gold, torn = _find_gold(judgments, placed, drawn)
    known = placed.join(gold, on=PAIR, how="left", maintain_order="left")
    givers = [LABEL] if gold["of_pool"].any() else [LABEL, OF_POOL]
    labels = opinions.filter(pl.col("voice").is_in(givers))
    known = _add_label(known, labels, contents)
    heard, unheard = _hear(opinions, known)
    names = tuple(heard["annotator"].unique().sort())
    said = known.select("pair_id").join(
        heard.pivot("annotator", index="pair_id", values="p_a").select("pair_id", *names)
        if names
        else pl.DataFrame(schema={"pair_id": pl.String}),
        on="pair_id",
        how="left",
        maintain_order="left",
    )
    matrix = said.select(names).to_numpy().astype(np.float64) if names else np.zeros((len(said), 0))
    return Evidence(
        known.drop("of_pool"),
        names,
        matrix,
        pl.concat([heard, labels.select(heard.columns)]).sort("pair_id", "annotator"),
        tuple(_notice(known, torn, unheard, names, matrix)),
    )


def _find_gold(
    judgments: pl.DataFrame, pairs: pl.DataFrame, drawn: pl.Series | None
) -> tuple[pl.DataFrame, int]:
    """response_a, response_b, truth, sample and of_pool of the gold that teaches; and how many of
    these pairs have voices that deny one another."""
    random = pl.lit(False) if drawn is None else pl.col("pair_id").is_in(drawn.implode())
    teaching = pairs.filter(on_train()).select(*PAIR, random=random)
    voices = select_gold(judgments).join(teaching, on=PAIR)
    people = pl.col("annotator").str.starts_with(PEOPLE)
    traits = voices.group_by(PAIR).agg(
        sample=(~people | pl.col("random")).any(),
        of_pool=(pl.col("voice") == OF_POOL).any(),
        kinds=call_label(pl.col("p_a")).n_unique(),
    )
    settled = settle_gold(voices).select(*PAIR, truth="p_a")
    found = settled.join(traits, on=PAIR)
    if found["sample"].sum() < LEAST_GOLD:
        found = found.with_columns(sample=pl.lit(True))
    return found.drop("kinds"), int((traits["kinds"] > 1).sum())


def _add_label(pairs: pl.DataFrame, labels: pl.DataFrame, contents: pl.DataFrame) -> pl.DataFrame:
    """With came, giver and length."""
    given = labels.group_by("pair_id").agg(
        came=(1 + (pl.col("p_a") - 0.5).sign().mean().sign()) / 2,
        giver=pl.when(pl.col("annotator").n_unique() == 1)
        .then(pl.col("annotator").first())
        .otherwise(pl.lit(SEVERAL)),
    )
    sizes = contents.unique("response_id").select("response_id", pl.col("content").str.len_chars())
    found = (
        pairs.join(given, on="pair_id", how="left", maintain_order="left")
        .join(sizes.rename({"response_id": "response_a", "content": "size_a"}), on="response_a",
              how="left", maintain_order="left")
        .join(sizes.rename({"response_id": "response_b", "content": "size_b"}), on="response_b",
              how="left", maintain_order="left")
        .with_columns(pl.col("sample").fill_null(False))
    )  # fmt: skip
    first, second = (_to_array(found[name].fill_null(0)) for name in ("size_a", "size_b"))
    came = _to_array(found["came"])
    chosen, rejected = np.where(came < 0.5, second, first), np.where(came < 0.5, first, second)
    sided = pl.Series(~np.isnan(came) & (came != 0.5))
    bands = band_lengths(chosen, rejected)
    return found.drop("size_a", "size_b").with_columns(
        length=pl.when(sided).then(bands).otherwise(pl.lit("no_label"))
    )


def _hear(opinions: pl.DataFrame, pairs: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """pair_id, annotator, p_a of the voices that spoke on gold often enough; and who did not."""
    one_order = (pl.col("voice") == "llm") & (pl.col("orders") < 2)
    machines = opinions.filter(pl.col("voice").is_in(MACHINES) & ~one_order)
    spoken = machines.group_by("pair_id", "annotator").agg(pl.col("p_a").mean())
    gold = pairs.filter(pl.col("truth").is_not_null() & pl.col("sample")).select("pair_id")
    counts = spoken.join(gold, on="pair_id").group_by("annotator").len()
    often = counts.filter(pl.col("len") >= LEAST_HEARD)["annotator"]
    heard = spoken.filter(pl.col("annotator").is_in(often.implode()))
    return heard, sorted(set(spoken["annotator"]) - set(often))


def _notice(
    pairs: pl.DataFrame, torn: int, unheard: list[str], names: tuple[str, ...], said: Array
) -> list[str]:
    lines = []
    gold = pairs.filter(pl.col("truth").is_not_null())
    if torn:
        lines.append(
            f"gold contradicts itself on {torn} of {len(gold)} pairs: the majority counts, a draw "
            "is a tie and teaches nothing. Look at them with `assay explain`, and withdraw what is "
            "wrong"
        )
    if unheard:
        lines.append(
            f"{', '.join(unheard)}: not heard, for want of {LEAST_HEARD} gold pairs to be measured "
            "on"
        )
    for at, name in enumerate(names):
        twins = [
            other for place, other in enumerate(names[:at])
            if np.array_equal(said[:, place], said[:, at], equal_nan=True)
        ]  # fmt: skip
        if twins:
            lines.append(f"{name} says the same as {twins[0]} of every pair: one of them is enough")
    counts = dict(gold.group_by("category").len().iter_rows())
    kinds = pairs["category"].unique().sort()
    if len(kinds) == 1 and len(pairs):
        lines.append(
            f"all pairs are of the category {kinds[0]}: nothing is known of how the labels of any "
            "other would fare"
        )
    few = [kind for kind in kinds if counts.get(kind, 0) < LEAST_OF_CATEGORY]
    if len(gold) and len(kinds) > 1 and few:
        told = ", ".join(f"{kind} ({counts.get(kind, 0)})" for kind in few)
        lines.append(
            f"little or no gold in some categories: {told}. What is said of their precision comes "
            f"from the other categories; have people label {LEAST_OF_CATEGORY} pairs of each"
        )
    return lines


def _to_array(values: pl.Series) -> Array:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
