"""An invented pool of pairs in which rows repeat and contradict each other in every way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.recipe import Recipe, parse_recipe

PAIRS = (
    ("How long do I have to knead bread dough by hand before I let it rise?",
     "Knead it for ten minutes, then let it rise until it has doubled.", "Bake it at once."),
    ("What is the best way to oil the chain of a bicycle that is used in the rain?",
     "Wipe it with a dry cloth, then put one drop of oil on each link.",
     "Pour oil over all of it."),
    ("When in the day should tomato seedlings on a sunny balcony get their water?",
     "Water them at the root in the morning, and keep their leaves dry.", "Water them at noon."),
    ("My jumper is made of wool and has a stain: may I put it into the machine?",
     "Wash it by hand in cool water and dry it lying flat.", "Use the hottest cycle."),
    ("Which steps keep a pan of cast iron from rusting after I have cooked in it?",
     "Rinse it while it is warm, dry it and rub in a little oil.", "Leave it in the sink."),
    ("Our teacher wants shorter essays; how do I find the words that can go?",
     "Read it aloud once and strike every word that you stumble over.", "Submit it as it is."),
    ("A door in my flat squeaks at night. What can I do without calling anybody?",
     "Lift the pin of the hinge, grease it lightly and put it back.", "Slam it harder."),
    ("Does green tea turn bitter because the water that I pour on it boils?",
     "Yes: let the water cool for three minutes first.", "No, tea is always bitter."),
)  # fmt: skip
HOSTILE = "<b>Bold</b> & <script>alert(1)</script>: what does this page show to a visitor?"


def make_rows() -> list[dict[str, Any]]:
    """Eight pairs and one of markup, and rows that each meet a rule."""
    rows = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS]
    bread, chain, seedlings, jumper = rows[:4]
    hostile = {"prompt": HOSTILE, "chosen": "It shows the tags as text.",
               "rejected": "It runs them."}  # fmt: skip
    near = chain["prompt"].replace("the rain", "winter rain")
    copied = f"{jumper['prompt']} I have often wondered about that myself."
    return [
        *rows,
        hostile,
        {**hostile, "prompt": HOSTILE.replace("a visitor", "my visitor")},
        {**bread, "prompt": f"  {bread['prompt'].upper()} "},
        {**chain, "prompt": near, "chosen": "Oil it sparingly."},
        {**seedlings, "chosen": seedlings["chosen"].upper(), "rejected": "Never."},
        {**jumper, "rejected": copied},
        {**jumper, "rejected": "No."},
        {"prompt": "What is missing here?", "chosen": "The other answer.", "rejected": " "},
    ]


def write_pool(file: Path) -> Path:
    """The rows as JSONL."""
    file.write_text("".join(json.dumps(row) + "\n" for row in make_rows()))
    return file


def make_untidy_recipe(file: Path, **changes: Any) -> Recipe:
    """What cleans the pool, with quotas that it cannot meet."""
    return parse_recipe(
        {
            "name": "untidy",
            "prompts": {"imports": [{"path": str(file), "name": "notes", "category": "advice"}]},
            "label": {"policy": "imported"},
            "clean": {"near_duplicate_similarity": 0.5, "min_response_chars": 7},
            "mix": {"total": 12, "categories": {"advice": 0.5, "safety": 0.5}},
            "train": None,
            **changes,
        }
    )
