"""What a good response is, by category of prompt: the same for people and for judges."""

from __future__ import annotations

from functools import cache

import yaml

from engines.assets import find_asset

FILE = "label_studio/guidelines.yaml"


@cache
def read_guidelines() -> dict[str, str]:
    """What a good response is, by category; `*` is for any other."""
    content = yaml.safe_load(find_asset(FILE).read_text("utf-8"))
    return {category: text.strip() for category, text in content.items()}


def read_guideline(category: str) -> str:
    """The guideline of a category, else the one for every category."""
    guidelines = read_guidelines()
    return guidelines.get(category, guidelines["*"])
