"""What the card of a data set admits."""

from __future__ import annotations

import pytest

from pipelines.ship.card import _list_limits, is_judged_by_embedded, make_licence
from schemas.recipe import parse_recipe


def make_recipe(judge: str) -> dict[str, object]:
    """The embedded model writes; `judge` judges."""
    return parse_recipe(
        {
            "name": "small",
            "models": {"embedded": {}, "large": {"model": "org/large", "url": "http://there/v1"}},
            "prompts": {"arithmetic": {"count": 2}},
            "rollouts": [{"model": "embedded", "n": 2}],
            "judges": [{"name": "pairwise", "model": judge}],
        }
    ).model_dump(mode="json")


def test_only_a_judge_makes_labels_of_the_embedded_model() -> None:
    metrics = {"decided_by": {"llm": 5, "verifier": 2}}
    assert is_judged_by_embedded(make_recipe("embedded"))
    assert "5 of the labels come from the embedded 135M model" in _list_limits(
        make_recipe("embedded"), metrics
    )[0]  # fmt: skip
    assert not is_judged_by_embedded(make_recipe("large"))
    limits = _list_limits(make_recipe("large"), metrics)
    assert limits[0] == "5 of the labels come from a model's judgment, checked by nobody."
    assert not any("135M" in limit for limit in limits)


@pytest.mark.parametrize(
    ("licences", "head"),
    [
        (["Apache-2.0"], {"license": "apache-2.0"}),
        (["ODC-By 1.0"], {"license": "other", "license_name": "ODC-By 1.0"}),
        (["ours, ask_us"], {"license": "other", "license_name": "ours, ask_us"}),
        (["CC0-1.0", "MIT"], {"license": "other"}),
    ],
)
def test_the_head_names_a_licence_that_the_hub_takes(
    licences: list[str], head: dict[str, str]
) -> None:
    assert make_licence(licences) == head
