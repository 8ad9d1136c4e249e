"""Templates of judges: Jinja files under `judges/`, checked when they are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2.meta import find_undeclared_variables

from schemas.errors import AssayError
from schemas.ids import hash_text

_ENVIRONMENT = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)


class TemplateBroken(AssayError):
    """A judge's template cannot be used; the message names the file and what is wrong."""


def load_template(file: Path, shows: Sequence[str], **others: Any) -> str:
    """Read a template and see that it shows each variable of `shows`, and knows of no variable
    that nobody gives, be it in a branch that is seldom rendered.

    Args:
        others: example values of the variables that it may leave out.

    Raises:
        TemplateBroken: not valid Jinja, a variable nobody gives, or one of `shows` not shown.
    """
    text = file.read_text(encoding="utf-8")
    marks = {name: f"⟦{name}⟧" for name in shows}
    known = {*shows, *others}
    try:
        used = find_undeclared_variables(_ENVIRONMENT.parse(text))
        unknown = sorted(used - known - _ENVIRONMENT.globals.keys())
        if unknown:
            raise TemplateBroken(
                f"{file}: nobody gives {{{{ {unknown[0]} }}}}; there are {', '.join(sorted(known))}"
            )
        shown = compile_template(text).render(**others, **marks)
    except jinja2.TemplateError as error:
        raise TemplateBroken(f"{file}: {error}") from error
    for name, mark in marks.items():
        if mark not in shown:
            raise TemplateBroken(f"{file}: the template never shows {{{{ {name} }}}}")
    return text


def render_template(text: str, **values: Any) -> str:
    """The text of a template."""
    return compile_template(text).render(**values)


def hash_templates(*texts: str) -> str:
    """One hash of all template texts that a request was made from."""
    return hash_text("\x1f".join(texts))


@lru_cache(maxsize=64)
def compile_template(text: str) -> jinja2.Template:
    """A template that refuses a variable nobody gave."""
    return _ENVIRONMENT.from_string(text)


def render_prompt(messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation as a judge or a person reads it: one message plain, several with roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{m['role'].capitalize()}: {m['content']}" for m in messages)
