"""What speaks of a pool: the label each pair came with, who gave it, the voices, and the gold that
teaches.

Gold is what `annotators.gold` says. Of it the pairs of the train side teach; those of the test side
are the exam (`pipelines.lake.teaching`), and nothing here ever looks at what they say: to the loop
they are pairs like others.

Voices are, each by its annotator: the recipe's judges (in both orders, where order matters),
verdicts and scores that came with a pool from machines, signals and other reward models. A voice is
heard that spoke on `LEAST_HEARD` gold pairs at least, for who says nothing there cannot be weighed.
The label is a pool's, or that of its people where the gold is somebody else's; it is heard by the
same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from annotators.gold import OF_POOL, select_gold, settle_gold, tell_voice
from annotators.loop.jury import warn_of_jury
from annotators.loop.reading import are_measured
from annotators.loop.stacking import LEAST_GOLD, LEAST_HEARD
from annotators.loop.trust import band_lengths
from annotators.signals.compare import compare_scores
from annotators.votes import PAIR, call_label
from pipelines.label.people.counting import PEOPLE
from pipelines.label.policies import collect_pairwise
from pipelines.lake.catalogue import Lake, PastLake
from pipelines.lake.teaching import on_train

Array = NDArray[np.float64]
MACHINES = ("llm", "judges_of_pool", "reward_model")
LABELS = ("label_of_pool", OF_POOL)  # who may give the label that a pair came with
LEAST_OF_CATEGORY = 20  # gold pairs, for a precision of its own
SEVERAL = "several"
FIRST_GOLD = "first_gold"  # why a review was queued: a pair drawn at random, for want of any gold
MEND_LABELS = (
    f"Have people label pairs drawn at random from the pool, {LEAST_HEARD} at least, and import "
    "that as gold"
)
BLOCK = 100_000  # pairs whose judgments are held at once
OF_GOLD = (
    "prompt_id", *PAIR, "annotator", "kind", "gold", "criterion", "valid", "p_a", "order",
    "sample_index",
)  # fmt: skip
"""What `annotators.gold` reads of a judgment."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What `gather_evidence` found.

    Attributes:
        pairs: pair_id, prompt_id, response_a, response_b, cluster_id, category, source, split,
            came (p_a of the label it came with, or null), giver (whose label), length (see
            `annotators.loop.trust.band_lengths`), truth (of the gold that teaches, else null) and
            sample (gold that was not chosen by need, and so may weigh the voices); by pair_id.
        judges, said: the voices heard, and what each says: (pairs, judges), NaN for nothing.
        opinions: at (the place in `pairs`), annotator, p_a of voices and labels together.
        notices: what is odd about this gold and these voices, for people.
    """

    pairs: pl.DataFrame
    judges: tuple[str, ...]
    said: Array
    opinions: pl.DataFrame
    notices: tuple[str, ...]

    @property
    def spoken(self) -> pl.DataFrame:
        """pair_id, annotator, p_a of voices and labels together."""
        return self.opinions.select(
            pair_id=self.pairs["pair_id"].gather(self.opinions["at"]),
            annotator=pl.col("annotator").cast(pl.String),
            p_a="p_a",
        ).sort("pair_id", "annotator")

    @property
    def truth(self) -> Array:
        """(pairs), NaN where no gold teaches."""
        return _to_array(self.pairs["truth"])

    @property
    def came(self) -> Array:
        """(pairs), NaN where a pair came with no label."""
        return _to_array(self.pairs["came"])

    @property
    def are_labels_measured(self) -> bool:
        """Whether gold says what the labels are worth that pairs came with; else they do not
        count."""
        return _are_labels_measured(self.pairs)

    def says_same(self, other: Evidence) -> bool:
        """Whether a reading of the other one would be the same."""
        return self is other or self.list_inputs().equals(other.list_inputs())

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


def settle_label() -> pl.Expr:
    """The label that a pair came with, of what its givers said (`p_a`): 1, 0.5 or 0, as most of
    them have it."""
    return (1 + (pl.col("p_a") - 0.5).sign().mean().sign()) / 2


def find_drawn(lake: Lake | PastLake) -> pl.Series:
    """The pairs about which people were asked because they were drawn at random."""
    found = lake.query(
        "SELECT DISTINCT pair_id FROM reviews WHERE reason = ? ORDER BY pair_id", [FIRST_GOLD]
    )
    return found["pair_id"]


def gather_evidence(
    find: Callable[[pl.DataFrame], pl.DataFrame],
    pairs: pl.DataFrame,
    prompts: pl.DataFrame,
    sizes: pl.DataFrame,
    drawn: pl.Series | None = None,
) -> Evidence:
    """All that speaks of the pairs that no verifier decides.

    Judgments are read in blocks of whole prompts, `BLOCK` pairs or little more at a time: of a
    large pool they are many times what is kept of them.

    Args:
        find: the judgments that speak of some of the pairs, as
            `pipelines.label.labelling.find_judgments` finds them.
        pairs: pair_id, prompt_id, response_a, response_b, basis.
        prompts: prompt_id, cluster_id, category, source, split.
        sizes: response_id, size (see `pipelines.label.sides.size_sides`).
        drawn: of `find_drawn`; gold of people on any other pair was chosen by need.
    """
    asked = pairs.filter(pl.col("basis") != "verifier").select("pair_id", "prompt_id", *PAIR)
    placed = asked.join(
        prompts.select("prompt_id", "cluster_id", "category", "source", "split"), on="prompt_id"
    ).sort("pair_id")
    places = placed.select("pair_id", "prompt_id", *PAIR).with_row_index("at")
    read = [_read(find(block), places, block) for block in cut_prompts(pairs, BLOCK)]
    voices, labels, golden = (pl.concat(part) for part in zip(*read, strict=True))
    gold, torn = _find_gold(golden, placed, drawn)
    known = placed.join(gold, on=PAIR, how="left", maintain_order="left")
    if gold["of_pool"].any():
        labels = labels.filter(pl.col("voice") != OF_POOL)
    labels = labels.drop("voice")
    known = _add_label(known, labels, sizes)
    heard, names, unheard = _hear(voices, known)
    said = np.full((len(known), len(names)), np.nan)
    for place, name in enumerate(names):
        own = heard.filter(pl.col("annotator") == name)
        said[own["at"].to_numpy(), place] = own["p_a"].to_numpy()
    return Evidence(
        known.drop("of_pool"),
        names,
        said,
        pl.concat([heard, labels]),
        tuple(_notice(known, torn, unheard, names, said)),
    )


def cut_prompts(pairs: pl.DataFrame, most: int) -> Iterator[pl.DataFrame]:
    """Blocks of whole prompts, of `most` pairs and what is left of the last prompt; one at
    least."""
    if len(pairs) <= most:
        yield pairs
        return
    ordered = pairs.sort("prompt_id", "pair_id")
    last = ordered["prompt_id"] != ordered["prompt_id"].shift(-1)
    ends = last.fill_null(True).arg_true().to_numpy() + 1
    start = 0
    while start < len(ordered):
        end = int(ends[np.searchsorted(ends, min(start + most, len(ordered)))])
        yield ordered[start:end]
        start = end


def _read(
    judgments: pl.DataFrame, places: pl.DataFrame, block: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Of what was said of a block of pairs: at, annotator, p_a of machines; the same and the voice
    of labels; and the judgments that may be gold."""
    mine = places.join(block.select("pair_id"), on="pair_id", how="semi", maintain_order="left")
    scored = compare_scores(judgments, mine)
    opinions = collect_pairwise(mine, pl.concat([judgments, scored])).join(
        mine.select("pair_id", "at"), on="pair_id"
    )
    one_order = (pl.col("voice") == "llm") & (pl.col("orders") < 2)
    machines = opinions.filter(pl.col("voice").is_in(MACHINES) & ~one_order)
    labels = opinions.filter(pl.col("voice").is_in(LABELS))
    name = pl.col("annotator").cast(pl.Categorical)
    golden = pl.from_arrow(judgments.filter(tell_voice().is_not_null()).select(OF_GOLD).to_arrow())
    assert isinstance(golden, pl.DataFrame)  # a copy, or it would hold the texts of the whole block
    return (
        machines.group_by("at", "annotator").agg(pl.col("p_a").mean()).with_columns(name),
        labels.select("at", name, "p_a", voice=pl.col("voice").cast(pl.Categorical)),
        golden,
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


def _add_label(pairs: pl.DataFrame, labels: pl.DataFrame, sizes: pl.DataFrame) -> pl.DataFrame:
    """With came, giver and length."""
    given = labels.group_by("at").agg(
        came=settle_label(),
        giver=pl.when(pl.col("annotator").n_unique() == 1)
        .then(pl.col("annotator").first().cast(pl.String))
        .otherwise(pl.lit(SEVERAL)),
    )
    found = (
        pairs.with_row_index("at")
        .join(given, on="at", how="left", maintain_order="left")
        .join(sizes.rename({"response_id": "response_a", "size": "size_a"}), on="response_a",
              how="left", maintain_order="left")
        .join(sizes.rename({"response_id": "response_b", "size": "size_b"}), on="response_b",
              how="left", maintain_order="left")
        .with_columns(pl.col("sample").fill_null(False))
    )  # fmt: skip
    first, second = (_to_array(found[name].fill_null(0)) for name in ("size_a", "size_b"))
    came = _to_array(found["came"])
    chosen, rejected = np.where(came < 0.5, second, first), np.where(came < 0.5, first, second)
    sided = pl.Series(~np.isnan(came) & (came != 0.5))
    bands = band_lengths(chosen, rejected)
    return found.drop("at", "size_a", "size_b").with_columns(
        length=pl.when(sided).then(bands).otherwise(pl.lit("no_label"))
    )


def _hear(
    voices: pl.DataFrame, pairs: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...], list[str]]:
    """What those said (at, annotator, p_a) who spoke on gold often enough, who they are, and who
    did not."""
    gold = pairs.select((pl.col("truth").is_not_null() & pl.col("sample")).arg_true()).to_series()
    counts = voices.filter(pl.col("at").is_in(gold.implode())).group_by("annotator").len()
    often = counts.filter(pl.col("len") >= LEAST_HEARD)["annotator"].cast(pl.String).sort()
    every = voices["annotator"].unique().cast(pl.String)
    heard = voices.filter(pl.col("annotator").cast(pl.String).is_in(often.implode()))
    return heard, tuple(often), sorted(set(every) - set(often))


def _notice(
    pairs: pl.DataFrame, torn: int, unheard: list[str], names: tuple[str, ...], said: Array
) -> list[str]:
    lines = []
    gold = pairs.filter(pl.col("truth").is_not_null())
    labelled = pairs.filter(pl.col("truth").is_null() & has_label())
    if len(gold) and len(labelled) and not _are_labels_measured(pairs):
        heard = gold.select((has_label() & pl.col("sample")).sum()).item()
        lines.append(
            f"{len(labelled)} pairs came with labels that were heard on {heard} gold pairs: it "
            f"takes {LEAST_HEARD} to say what they are worth, so these labels do not count, and "
            f"how right those kept are is not known. {MEND_LABELS}"
        )
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
    weighs = _find_weighing(pairs)
    poor = warn_of_jury(names, said[weighs], _to_array(pairs["truth"])[weighs]) if names else None
    if poor:
        lines.append(poor)
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


def has_label() -> pl.Expr:
    """Whether a pair of the evidence came with a label that takes a side."""
    return pl.col("came").is_not_null() & (pl.col("came") != 0.5)


def _are_labels_measured(pairs: pl.DataFrame) -> bool:
    return are_measured(_to_array(pairs["came"]), _find_weighing(pairs))


def _find_weighing(pairs: pl.DataFrame) -> NDArray[np.bool_]:
    """Which pairs are gold that weighs the voices."""
    return pairs.select(pl.col("truth").is_not_null() & pl.col("sample")).to_series().to_numpy()


def _to_array(values: pl.Series) -> Array:
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
