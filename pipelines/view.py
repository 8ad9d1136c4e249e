"""What a recipe sees of a lake, from its prompts to its mixed pairs.

Each frame follows from the one before it and from what the stages have written; nothing here
writes. A frame is computed when it is first asked for and kept, so a `View` is for one stage: make
a new one after a stage has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from annotators.talk import Judge
from pipelines.clean.auditing import audit_bias
from pipelines.clean.decontaminate import OF_RESPONSES, keep_uncontaminated
from pipelines.clean.decontaminate import STAGE as DECONTAMINATE
from pipelines.clean.decontaminate import keep_uncontaminated_responses as keep_clear
from pipelines.clean.decontaminate import make_prompt_scope as make_contamination_scope
from pipelines.clean.decontaminate import make_response_scope as make_clear_scope
from pipelines.clean.dedup import STAGE as DEDUP
from pipelines.clean.dedup import keep_distinct, make_dedup_scope
from pipelines.clean.filters import STAGE as FILTER
from pipelines.clean.filters import keep_clean, make_filter_scope
from pipelines.clean.matching import STAGE as MATCH
from pipelines.clean.matching import keep_matched, make_match_scope
from pipelines.clean.mix import STAGE as MIX
from pipelines.clean.mix import keep_mixed, make_mix_scope
from pipelines.clean.quality import STAGES as QUALITY
from pipelines.clean.quality import (
    find_rules,
    frame_pairs,
    frame_prompts,
    frame_responses,
    keep_good,
    make_quality_scopes,
)
from pipelines.clean.repeats import STAGE as REPEATS
from pipelines.clean.repeats import keep_first, list_variants, make_repeat_scope
from pipelines.clean.responses import STAGE as FILTER_RESPONSES
from pipelines.clean.responses import keep_responses, make_response_scope
from pipelines.clean.rules.table import Kind
from pipelines.clean.splits import STAGE as SPLIT
from pipelines.clean.splits import keep_split, make_split_scope
from pipelines.clean.strata import add_strata
from pipelines.clean.weighing import STAGE as WEIGH
from pipelines.clean.weighing import add_weights, make_weight_scope
from pipelines.label.judges import load_judges
from pipelines.label.labelling import LOOP, apply_policy, find_judgments, make_label_scope
from pipelines.label.labelling import STAGE as LABEL
from pipelines.label.loop.evidence import Evidence, find_drawn, gather_evidence
from pipelines.label.loop.outcomes import PoolRead, find_read
from pipelines.label.loop.recycling import STAGE as RECYCLE
from pipelines.label.loop.recycling import make_reading_scope
from pipelines.label.pairs import find_pairs
from pipelines.label.people.prototyping import STAGE as PROTOTYPES
from pipelines.label.people.prototyping import make_prototype_scope
from pipelines.label.people.tastes import Tastes, find_tastes
from pipelines.label.people.voices import find_voices
from pipelines.label.sides import size_sides
from pipelines.lake.catalogue import Lake
from pipelines.make.pool import find_prompts
from pipelines.make.rollouts import find_rollouts
from schemas.recipe import Recipe

AUDIT_AT_MOST = 100_000
MANY = 200_000  # pairs from which on texts are let go of while a pool is read


@dataclass(frozen=True)
class View:
    """A recipe over a lake; `base` is the folder that the recipe's own files lie beside."""

    lake: Lake
    recipe: Recipe
    base: Path | None = None

    @cached_property
    def pool(self) -> pl.DataFrame:
        """Every prompt that the recipe's sources made."""
        return find_prompts(self.lake, self.recipe, self.base)

    @cached_property
    def distinct(self) -> pl.DataFrame:
        """The pool without duplicates."""
        return keep_distinct(self.lake, self.recipe, self.pool)

    @cached_property
    def uncontaminated(self) -> pl.DataFrame:
        """The distinct prompts without those of the recipe's evaluation sets."""
        return keep_uncontaminated(self.lake, self.recipe, self.base, self.distinct)

    @cached_property
    def assigned(self) -> pl.DataFrame:
        """The uncontaminated prompts with `cluster_id` and `split`."""
        return keep_split(self.lake, self.recipe, self.uncontaminated)

    @cached_property
    def prompts(self) -> pl.DataFrame:
        """The assigned prompts that the quality rules kept."""
        return self._keep_good("prompt", self.assigned)

    @cached_property
    def all_rollouts(self) -> pl.DataFrame:
        """The recipe's rollouts on its prompts, with `content`."""
        return find_rollouts(self.lake, self.recipe, self.prompts)

    @cached_property
    def whole_rollouts(self) -> pl.DataFrame:
        """The rollouts whose responses are neither empty nor cut nor of a wrong length."""
        return keep_responses(self.lake, self.recipe, self.all_rollouts)

    @cached_property
    def clear_rollouts(self) -> pl.DataFrame:
        """The whole rollouts without those that hold a prompt of the recipe's evaluation sets."""
        return keep_clear(self.lake, self.recipe, self.base, self.whole_rollouts)

    @cached_property
    def usable_rollouts(self) -> pl.DataFrame:
        """The clear rollouts whose responses the quality rules kept."""
        return self._keep_good("response", self.clear_rollouts)

    @cached_property
    def rollouts(self) -> pl.DataFrame:
        """Of the usable ones those that repeat no other."""
        return keep_first(self.lake, self.usable_rollouts)

    @cached_property
    def variants(self) -> pl.DataFrame:
        """variant, stands: the responses that say what another one says, and which."""
        return list_variants(self.lake, self.usable_rollouts)

    @cached_property
    def pairs(self) -> pl.DataFrame:
        """The candidate pairs."""
        return find_pairs(self.lake, self.recipe, self.rollouts, self.variants)

    @cached_property
    def judges(self) -> list[Judge]:
        """The judges of the recipe."""
        return load_judges(self.recipe, self.base)

    @cached_property
    def voices(self) -> pl.DataFrame:
        """What persons said, our own and those of the recipe's pools, each by name."""
        return find_voices(self.lake, [source.name for source in self.recipe.prompts.imports])

    @cached_property
    def tastes(self) -> Tastes | None:
        """What prototypes of these people say of the candidate pairs, where the recipe has labels
        heed them and they are fitted."""
        if self.recipe.review.prototypes is None:
            return None
        return find_tastes(self.lake, self.recipe, self.voices, self.pairs)

    @cached_property
    def evidence(self) -> Evidence:
        """What speaks of the candidate pairs, and the gold that teaches."""

        def find(pairs: pl.DataFrame) -> pl.DataFrame:
            return find_judgments(self.lake, self.recipe, self.judges, pairs, self.variants)

        self.forget_texts()
        sizes = size_sides(self.lake, self.pairs)
        return gather_evidence(find, self.pairs, self.prompts, sizes, find_drawn(self.lake))

    def find_texts(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """The rollouts of the prompts of some of the pairs, read for them alone."""
        prompts = self.prompts.join(pairs, on="prompt_id", how="semi", maintain_order="left")
        return find_rollouts(self.lake, self.recipe, prompts)

    def forget_texts(self) -> None:
        """Of a large pool, let go of the frames that hold its responses' texts, which reading it
        takes the room of; they are read anew for whoever asks for them again."""
        if len(self.pairs) < MANY:
            return
        for name in list(self.__dict__):
            if name.endswith("rollouts"):
                del self.__dict__[name]

    @cached_property
    def read(self) -> PoolRead | None:
        """What the pool was read to be, where the recipe's labels are of the gold loop."""
        if self.recipe.label.policy != LOOP:
            return None
        return find_read(self.lake, self.recipe, self.evidence)

    @cached_property
    def labels(self) -> pl.DataFrame:
        """The candidate pairs with what the label policy says of them."""
        return apply_policy(
            self.lake, self.recipe, self.judges, self.pairs, self.variants, self.tastes, self.read
        )

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """The pairs with a label, with their prompt's category, source, licence and split."""
        columns = ("prompt_id", "category", "source", "licence", "split", "difficulty")
        return self.labels.filter(pl.col("status") == "labelled").join(
            self.prompts.select(columns), on="prompt_id", maintain_order="left"
        )

    @cached_property
    def unrepeated(self) -> pl.DataFrame:
        """The labelled pairs that repeat no other."""
        return keep_clean(self.lake, self.labelled, self.recipe.clean.cut_off)

    @cached_property
    def clean(self) -> pl.DataFrame:
        """The unrepeated pairs that the quality rules kept."""
        return self._keep_good("pair", self.unrepeated)

    def frame(self, kind: Kind) -> pl.DataFrame:
        """What the quality rules on prompts, responses or pairs look at."""
        if kind == "prompt":
            return frame_prompts(self.assigned)
        if kind == "response":
            return frame_responses(self.clear_rollouts)
        return frame_pairs(self.unrepeated, self.rollouts)

    def _keep_good(self, kind: Kind, frame: pl.DataFrame) -> pl.DataFrame:
        if not find_rules(self.recipe.clean.quality, kind):
            return frame
        return keep_good(self.lake, self.recipe, kind, self.frame(kind), frame)

    @cached_property
    def mixable(self) -> pl.DataFrame:
        """The clean pairs with what the mix looks at."""
        return add_strata(self.lake, self.clean, self.prompts, self.rollouts, self.recipe.mix)

    @cached_property
    def mixed(self) -> pl.DataFrame:
        """The clean pairs within the quotas."""
        return keep_mixed(self.lake, self.recipe, self.mixable).select(self.clean.columns)

    @cached_property
    def matched(self) -> pl.DataFrame:
        """The pairs of the data set: mixed, and matched by length where the recipe says so."""
        if not self.recipe.clean.bias.match_length:
            return self.mixed
        return keep_matched(self.lake, self.recipe, frame_pairs(self.mixed, self.rollouts)).drop(
            "chosen", "rejected"
        )

    @cached_property
    def weighted(self) -> pl.DataFrame:
        """The pairs of the data set with `weight`."""
        return add_weights(self.lake, self.recipe, self.matched)

    def audit_bias(self) -> dict[str, Any]:
        """How well shortcuts alone predict the labels of the data set: of all of it where the
        recipe sets a bound, else of at most `AUDIT_AT_MOST` pairs, the smallest ids (hashes)."""
        pairs = self.matched.sort("pair_id")
        if not self.recipe.clean.bias.has_bound:
            pairs = pairs.head(AUDIT_AT_MOST)
        return audit_bias(self.lake, self.recipe, frame_pairs(pairs, self.rollouts))

    @cached_property
    def scopes(self) -> dict[str, str]:
        """Stage -> the scope whose decisions apply to this view."""
        quality: dict[Kind, dict[str, str]] = {
            kind: make_quality_scopes(self.lake, self.recipe, kind, self.frame(kind))
            if find_rules(self.recipe.clean.quality, kind)
            else {}
            for kind in QUALITY
        }
        matching = self.recipe.clean.bias.match_length
        weighing = self.recipe.mix.weigh is not None
        fitted = {}
        if self.recipe.review.prototypes is not None:
            fitted[PROTOTYPES] = make_prototype_scope(self.recipe, self.voices, self.pairs)
        if self.recipe.label.policy == LOOP:
            fitted[RECYCLE] = make_reading_scope(self.recipe, self.evidence)
        found = {
            DEDUP: make_dedup_scope(self.recipe, self.pool),
            SPLIT: make_split_scope(self.recipe, self.uncontaminated),
            **quality["prompt"],
            FILTER_RESPONSES: make_response_scope(self.recipe.clean, self.all_rollouts),
            **quality["response"],
            REPEATS: make_repeat_scope(self.usable_rollouts),
            **fitted,
            LABEL: make_label_scope(self.recipe, self.labels),
            FILTER: make_filter_scope(self.labelled, self.recipe.clean.cut_off),
            **quality["pair"],
            MIX: make_mix_scope(self.recipe, self.mixable),
            **({MATCH: make_match_scope(self.recipe, self.mixed)} if matching else {}),
            **({WEIGH: make_weight_scope(self.recipe, self.matched)} if weighing else {}),
        }
        if self.recipe.clean.decontaminate is not None:
            where = self.recipe, self.base
            found[DECONTAMINATE] = make_contamination_scope(*where, self.distinct)
            found[OF_RESPONSES] = make_clear_scope(*where, self.whole_rollouts)
        return found
