"""What a recipe says of the gold loop: how far it goes, what it may spend, what it may turn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.part import Part


class LoopSpec(Part):
    """The gold loop: what people said lights up what machines say (docs/loop.md).

    At most `iterations` times the pairs of the pool that are most like the gold pairs that the
    reward model errs on (up to `neighbours` for each) go to the judges, and what is then worth most
    to people, within `minutes` of everybody together (0: machines only). `calls` is the most calls
    to models that all iterations may make, spent where they gain most. A pair keeps the label it
    came with where the reading of all voices is as `sure` of it as `label.threshold` asks, or by
    the published rule, where the gold model is `consistent` with it and either jury or best model.
    `flip_policy` says which labels are turned round: where gold model, best model and jury all
    reject them (`unanimous`), `none`, or whatever is not kept (`all`). Of what was turned, the
    share `sample` goes to people, who say how often that was right.
    """

    iterations: Annotated[int, Field(ge=0, le=100)] = 4
    neighbours: Annotated[int, Field(ge=1, le=64)] = 8
    minutes: Annotated[float, Field(ge=0)] = 0.0
    calls: Annotated[int, Field(ge=1)] | None = None
    keep: Literal["sure", "consistent"] = "sure"
    flip_policy: Literal["unanimous", "none", "all"] = "unanimous"
    sample: Annotated[float, Field(ge=0, le=1)] = 0.1
