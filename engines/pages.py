"""HTML pages from the templates that ship with Assay; every text that is put in is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.assets import find_asset


def render_page(template: str, facts: Mapping[str, Any]) -> str:
    """The page that a template (`report/….html.jinja`, which may import its neighbours) makes of
    `facts`; one that is missing is an error, not a gap.

    Filters: `number` (digits), `share` (of a whole, in per cent), `seconds`; each says – for None.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: find_asset(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _say_number, "share": _say_share, "seconds": _say_seconds}
    return environment.get_template(template).render(**facts).lstrip()


def _say_number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _say_share(part: float | None, whole: float | None = 1) -> str:
    return "–" if part is None or not whole else f"{100 * part / whole:.1f} %"


def _say_seconds(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.1f} s" if value >= 0.1 or value == 0 else f"{value:.3f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
