"""What a recipe says of the mix: how many pairs, and how they are shared out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.part import Name, Part, Share

AXES = ("category", "source", "difficulty", "objectivity", "length")
Axis = Literal["category", "source", "difficulty", "objectivity", "length"]
Order = Literal["easy_first", "hard_first"]


class MixSpec(Part):
    """How many pairs, and how they are shared out.

    A quota is a share of `total` (of all pairs where there is no total): at most so many pairs of
    that `categories`, `sources`, `difficulties` (easy, medium, hard), `objectivities` or `lengths`
    (short, medium, long: see `length_bounds`). Shares of named keys may not pass 1; what they leave
    is for the keys that are not named. A named blend of `blends` gives the parts of categories
    instead (`{maths: 2, general: 1}`), and `blend` says which one counts.

    `balance` names axes whose strata (every combination that occurs) share `total` by `temperature`
    T: a stratum of n pairs gets a part in proportion to n^(1/T), 1 as they come, large as good as
    equal; what a small stratum cannot fill goes to the others. `per_cluster` and `per_policy` are
    the most pairs of a cluster of prompts (the split's), and of the responses of one policy.
    `weigh` says by what pairs count more or less in training (see `pipelines.clean.weighing`), and
    `order` in which order they are exported and trained on (see `pipelines.ship.ordering`).
    """

    total: Annotated[int, Field(ge=1)] | None = None
    categories: dict[str, Share] = {}
    sources: dict[str, Share] = {}
    difficulties: dict[str, Share] = {}
    objectivities: dict[str, Share] = {}
    lengths: dict[str, Share] = {}
    length_bounds: tuple[int, int] = (400, 1600)
    balance: list[Axis] = []
    temperature: Annotated[float, Field(ge=1)] = 1.0
    per_cluster: Annotated[int, Field(ge=1)] | None = None
    per_policy: Annotated[int, Field(ge=1)] | None = None
    blends: dict[Name, dict[str, Annotated[float, Field(gt=0)]]] = {}
    blend: Name | None = None
    weigh: Literal["source", "category", "difficulty", "margin"] | None = None
    order: Order | None = None

    @property
    def quotas(self) -> dict[str, dict[str, float]]:
        """Axis -> name -> share, a blend worked in."""
        categories = self.categories
        if self.blend is not None:
            parts = self.blends[self.blend]
            whole = sum(parts.values())
            categories = {name: part / whole for name, part in parts.items()}
        return {
            "category": categories,
            "source": self.sources,
            "difficulty": self.difficulties,
            "objectivity": self.objectivities,
            "length": self.lengths,
        }

    @model_validator(mode="after")
    def check_quotas(self) -> MixSpec:
        keys = ("categories", "sources", "difficulties", "objectivities", "lengths")
        for key in keys:
            shares = getattr(self, key)
            if sum(shares.values()) > 1 + 1e-9:
                raise ValueError(
                    f"impossible quota: the shares under {key} add up to "
                    f"{sum(shares.values()):.3g}, more than 1; lower them"
                )
            if self.total is not None and len(shares) > self.total:
                raise ValueError(
                    f"impossible quota: {len(shares)} {key} cannot share {self.total} pairs; "
                    "raise total"
                )
        if self.balance and self.total is None:
            raise ValueError("balance shares out a total: say how many pairs under total")
        if self.temperature != 1 and not self.balance:
            raise ValueError("temperature is of strata: name their axes under balance")
        if self.length_bounds[0] >= self.length_bounds[1]:
            raise ValueError("length_bounds are characters, the smaller first")
        return self

    @model_validator(mode="after")
    def check_blend(self) -> MixSpec:
        if self.blend is not None and self.blend not in self.blends:
            known = ", ".join(sorted(self.blends)) or "there is none"
            raise ValueError(f"blend names {self.blend!r}, which is not under blends ({known})")
        if self.blend is not None and self.categories:
            raise ValueError("categories and blend both share out the categories: keep one")
        return self
