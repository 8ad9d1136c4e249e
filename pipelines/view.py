"""What a recipe sees of a lake, from its prompts to its mixed pairs.

Each frame follows from the one before it and from what the stages have written; nothing here
writes. A frame is computed when it is first asked for and kept, so a `View` is for one stage: make
a new one after a stage has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from annotators.talk import Judge
from pipelines.clean.dedup import STAGE as DEDUP
from pipelines.clean.dedup import keep_distinct, make_dedup_scope
from pipelines.clean.filters import STAGE as FILTER
from pipelines.clean.filters import keep_clean, make_filter_scope
from pipelines.clean.mix import STAGE as MIX
from pipelines.clean.mix import keep_mixed, make_mix_scope
from pipelines.clean.repeats import STAGE as REPEATS
from pipelines.clean.repeats import keep_first, list_variants, make_repeat_scope
from pipelines.clean.responses import STAGE as FILTER_RESPONSES
from pipelines.clean.responses import keep_responses, make_response_scope
from pipelines.clean.splits import STAGE as SPLIT
from pipelines.clean.splits import keep_split, make_split_scope
from pipelines.clean.strata import add_strata
from pipelines.label.judges import load_judges
from pipelines.label.labelling import STAGE as LABEL
from pipelines.label.labelling import apply_policy, make_label_scope
from pipelines.label.pairs import find_pairs
from pipelines.label.people.prototyping import STAGE as PROTOTYPES
from pipelines.label.people.prototyping import make_prototype_scope
from pipelines.label.people.tastes import Tastes, find_tastes
from pipelines.label.people.voices import find_voices
from pipelines.lake.catalogue import Lake
from pipelines.make.pool import find_prompts
from pipelines.make.rollouts import find_rollouts
from schemas.recipe import Recipe


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
    def prompts(self) -> pl.DataFrame:
        """The distinct prompts with `cluster_id` and `split`."""
        return keep_split(self.lake, self.recipe, self.distinct)

    @cached_property
    def all_rollouts(self) -> pl.DataFrame:
        """The recipe's rollouts on its prompts, with `content`."""
        return find_rollouts(self.lake, self.recipe, self.prompts)

    @cached_property
    def usable_rollouts(self) -> pl.DataFrame:
        """The rollouts whose responses passed the cleaning."""
        return keep_responses(self.lake, self.recipe, self.all_rollouts)

    @cached_property
    def rollouts(self) -> pl.DataFrame:
        """Of those the ones that repeat no other."""
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
    def labels(self) -> pl.DataFrame:
        """The candidate pairs with what the label policy says of them."""
        return apply_policy(
            self.lake, self.recipe, self.judges, self.pairs, self.variants, self.tastes
        )

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """The pairs with a label, with their prompt's category, source, licence and split."""
        columns = ("prompt_id", "category", "source", "licence", "split", "difficulty")
        return self.labels.filter(pl.col("status") == "labelled").join(
            self.prompts.select(columns), on="prompt_id", maintain_order="left"
        )

    @cached_property
    def clean(self) -> pl.DataFrame:
        """The labelled pairs that passed the cleaning of pairs."""
        return keep_clean(self.lake, self.labelled, self.recipe.clean.cut_off)

    @cached_property
    def mixable(self) -> pl.DataFrame:
        """The clean pairs with what the mix looks at."""
        return add_strata(self.lake, self.clean, self.prompts, self.rollouts, self.recipe.mix)

    @cached_property
    def mixed(self) -> pl.DataFrame:
        """The pairs of the data set: clean, and within the quotas."""
        return keep_mixed(self.lake, self.recipe, self.mixable).select(self.clean.columns)

    @cached_property
    def scopes(self) -> dict[str, str]:
        """Stage -> the scope whose decisions apply to this view."""
        fitted = {}
        if self.recipe.review.prototypes is not None:
            fitted[PROTOTYPES] = make_prototype_scope(self.recipe, self.voices, self.pairs)
        return {
            DEDUP: make_dedup_scope(self.recipe, self.pool),
            SPLIT: make_split_scope(self.recipe, self.distinct),
            FILTER_RESPONSES: make_response_scope(self.recipe.clean, self.all_rollouts),
            REPEATS: make_repeat_scope(self.usable_rollouts),
            **fitted,
            LABEL: make_label_scope(self.recipe, self.labels),
            FILTER: make_filter_scope(self.labelled, self.recipe.clean.cut_off),
            MIX: make_mix_scope(self.recipe, self.mixable),
        }
