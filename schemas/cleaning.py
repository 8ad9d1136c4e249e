"""What a recipe says of quality and of shortcuts: the thresholds that `pipelines.clean` holds
prompts, responses and pairs against. A rule that is not named is off."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from schemas.part import Part, Share

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
PiiKind = Literal["card", "email", "iban", "ip", "phone", "ssn"]


class Rule(Part):
    """One quality rule: what its value is held against, and what becomes of what it hits.

    `mark` keeps the row and names the rule in its column `defects`. A bare number is short for
    its `threshold`.
    """

    threshold: Annotated[float, Field(ge=0)]
    then: Literal["drop", "mark"] = "drop"

    @model_validator(mode="before")
    @classmethod
    def read_number(cls, given: Any) -> Any:
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        return {"threshold": given} if is_number else given


class LanguageRule(Part):
    """Texts of which a share of `threshold` or more is in no language of `keep` (ISO 639)."""

    keep: Annotated[list[Language], Field(min_length=1)]
    threshold: Share = 0.5
    then: Literal["drop", "mark"] = "drop"


class PiiRule(Part):
    """Texts that hold `threshold` or more e-mail addresses, phone numbers, and the like.

    `redact` puts the name of the kind in their place in whatever leaves the lake; the lake keeps
    the text. `region` (ISO 3166) is where a phone number without a country code belongs.
    """

    kinds: Annotated[list[PiiKind], Field(min_length=1)] = [
        "card", "email", "iban", "ip", "phone", "ssn",
    ]  # fmt: skip
    region: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = "US"
    threshold: Annotated[int, Field(ge=1)] = 1
    then: Literal["drop", "mark", "redact"] = "redact"


class QualitySpec(Part):
    """The quality rules, by what they look at. A value at the threshold or beyond is a hit.

    Prompts and responses: `language`; `toxicity` (probability from 0 to 1, English words only);
    `pii`.
    Responses: `refusal` (points, 2 is tuned); `repeated_lines` and `repeated_ngrams` (shares of
    lines and of word 4-grams that said the same before); `compressibility` (share of the bytes that
    compression saves); `unfinished` (1: a code fence stays open; 0.5: or the last sentence does);
    `boilerplate` (share of the prompts whose responses open or close in the same five words).
    Pairs: `length_ratio` (longer to shorter, characters); `low_margin` (at or below the threshold);
    `disagreement` (share of the deciding opinions on the other side); `label_noise` (probability of
    the opposite label, from 0 to 1); `reward_outlier` (robust z of a reward within its source).
    """

    language: LanguageRule | None = None
    toxicity: Rule | None = None
    pii: PiiRule | None = None
    refusal: Rule | None = None
    repeated_lines: Rule | None = None
    repeated_ngrams: Rule | None = None
    compressibility: Rule | None = None
    unfinished: Rule | None = None
    boilerplate: Rule | None = None
    length_ratio: Rule | None = None
    low_margin: Rule | None = None
    disagreement: Rule | None = None
    label_noise: Rule | None = None
    reward_outlier: Rule | None = None


BOUNDS = ("length", "format", "refusal", "position", "all")
Bound = Annotated[float, Field(ge=0.5, lt=1)]


class BiasSpec(Part):
    """How much of the labels a shortcut may predict; publishing fails where one predicts more.

    The bounds are accuracies: 0.55 says that a shortcut alone may be right on 55 % of the pairs.
    With `within` they hold in each category or source of enough pairs too: shortcuts that lean one
    way here and the other there are none over all. `match_length` drops as few pairs as `length`
    needs.
    """

    length: Bound | None = None
    format: Bound | None = None
    refusal: Bound | None = None
    position: Bound | None = None
    all: Bound | None = None
    within: Literal["category", "source"] | None = None
    match_length: bool = False

    @property
    def has_bound(self) -> bool:
        """Whether publishing may fail."""
        return any(getattr(self, name) is not None for name in BOUNDS)

    @model_validator(mode="after")
    def check_match(self) -> BiasSpec:
        if self.match_length and self.length is None:
            raise ValueError("match_length needs the bound that it is to meet; set length")
        return self


class DecontaminateSpec(Part):
    """Which evaluation sets a data set must not repeat, and what counts as repeating.

    `against` names files, folders or `hub:` data sets, relative to the recipe. A text repeats a
    prompt if it has all its words (`exact`), at least the named share of its different runs of 13
    or of 8 words (at 0, one run is enough), or says the same (`semantic`: a similarity of at least
    `threshold` by the vectors of `model`; see docs/cleaning.md for where the default comes from).
    """

    against: Annotated[list[str], Field(min_length=1)]
    methods: Annotated[
        list[Literal["exact", "13gram", "8gram", "semantic"]], Field(min_length=1)
    ] = ["exact", "13gram", "8gram", "semantic"]
    min_share_13gram: Annotated[float, Field(ge=0, le=1)] = 0.0
    min_share_8gram: Annotated[float, Field(ge=0, le=1)] = 0.5
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.78
    model: str = "minilm"
