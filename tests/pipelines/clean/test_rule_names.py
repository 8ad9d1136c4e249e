"""Every rule that a report may name has words of its own."""

from __future__ import annotations

import ast
from pathlib import Path

from pipelines.clean.bulk import settle
from pipelines.clean.decontaminate import METHODS
from pipelines.clean.rule_names import WORDS, name_rule
from pipelines.clean.rules.table import RULES
from schemas.mixing import AXES

SOURCES = Path(__file__).parents[3] / "pipelines"


def list_constants() -> set[str]:
    """Every string in the code of `clean/` and `label/`."""
    files = [file for wing in ("clean", "label") for file in (SOURCES / wing).rglob("*.py")]
    trees = [ast.parse(file.read_text("utf-8")) for file in files if file.stem != "rule_names"]
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_rules_that_recipes_and_pools_name_have_words() -> None:
    named = {name for kind in RULES.values() for name in kind}
    named |= {f"contaminated_{method}" for method in METHODS}
    named |= set(settle.RULES) - {"kept", "unusable", "contaminated", "mixed_out"}
    assert named <= set(WORDS)
    assert name_rule("over_quota_category") == "over the quota of its category"
    for rule in [*WORDS, *(f"over_quota_{axis}" for axis in AXES)]:
        assert "_" not in name_rule(rule)
    assert name_rule("of_tomorrow") == "of tomorrow"


def test_words_are_of_rules_that_are_there_and_tell_them_apart() -> None:
    made = ("contaminated_", "flip_", "over_")
    assert {rule for rule in WORDS if not rule.startswith(made)} <= list_constants()
    assert len(set(WORDS.values())) == len(WORDS)
