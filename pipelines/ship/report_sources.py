"""What the report says of what sources and voices are worth, where that was looked into."""

from __future__ import annotations

from typing import Any

from pipelines.lake.catalogue import Lake
from pipelines.ship.figures_sources import plot_gains
from pipelines.ship.publish import Published
from pipelines.ship.sources.taking import find_sources
from pipelines.ship.sources.telling import head_voices, list_notes, tell_points

SOURCES = {"value": "worth", "random": "as many random rows"}
VOICES = {"value": "right labels", "kept": "labels kept"}


def report_sources(lake: Lake, version: Published) -> dict[str, Any] | None:
    """The newest of `assay sources`, with `judged` (whether a machine spoke), `valued` (the
    sources, the most valuable first), `heard` (the voices), `head` (what their table shows),
    `notes` (sentences) and `figures`; None where it was never asked for."""
    found = find_sources(lake, version)
    if found is None:
        return None
    valued = [
        {
            "label": row["source"],
            **row["worth"],
            **_tell(row["worth"], ("value", "random", "beyond")),
        }
        for row in found["sources"]
        if row["worth"]
    ]
    valued.sort(key=lambda row: -(row["value"] or 0))
    heard = [{"label": row["voice"], **row, **_tell(row, ("value", "kept"))}
             for row in found["voices"]["voices"]]  # fmt: skip
    label = "What the accuracy of the small probe owes to each source"
    figures = {"sources": plot_gains("sources", label, valued, SOURCES)} if valued else {}
    if heard:
        shown = {
            key: told for key, told in VOICES.items() if heard[0].get(f"{key}_low") is not None
        }
        label = "What right labels owe to each voice"
        figures["voices"] = plot_gains("voices", label, heard, shown)
    head = head_voices(found["voices"]) if heard else ""
    return {
        **found,
        "judged": any(row["judges"] for row in found["sources"]),
        "valued": valued,
        "heard": heard,
        "head": head[:1].upper() + head[1:],
        "notes": list_notes(found),
        "figures": figures,
    }


def _tell(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {f"{name}_told": tell_points(row, name) for name in names}
