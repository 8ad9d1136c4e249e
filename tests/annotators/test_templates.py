"""Templates: what is wrong with one is said with its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotators.templates import TemplateBroken, load_template, render_prompt, render_template

SHOWS = ("prompt", "first", "second")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ prompt }} {{ first }}", r"never shows \{\{ second \}\}"),
        ("{{ first }} {{ second }}", r"never shows \{\{ prompt \}\}"),
        ("{{ prompt }} {{ first }} {{ second }} {{ rubric }}", "rubric"),
        ("{{ prompt }} {{ first }} {{ second", "end of"),
        ("{% if prompt %}{{ first }} {{ second }}", "endif|end of"),
        (
            "{{ prompt }} {{ first }} {{ second }} {% if reference %}{{ refrence }}{% endif %}",
            r"nobody gives \{\{ refrence \}\}; there are first, prompt, reference, second",
        ),
    ],
)
def test_a_broken_template_is_named_with_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "broken.jinja"
    file.write_text(text)
    with pytest.raises(TemplateBroken, match=why) as caught:
        load_template(file, SHOWS, reference=None)
    assert "broken.jinja" in str(caught.value)


def test_what_jinja_and_the_template_itself_bring_along_is_known(tmp_path: Path) -> None:
    file = tmp_path / "whole.jinja"
    text = (
        "{{ prompt }}{{ first }}{{ second }}{% set n = 2 %}{{ n }}"
        "{% for one in many %}{{ loop.index }}{{ one.title }}{% endfor %}{{ range(3) | list }}"
    )
    file.write_text(text)
    assert load_template(file, SHOWS, many=()) == text


def test_what_is_shown_is_never_read_as_a_template() -> None:
    assert render_template("{{ prompt }}", prompt="{{ 7 * 7 }}") == "{{ 7 * 7 }}"


def test_a_conversation_shows_its_roles_and_a_lone_question_does_not() -> None:
    question = {"role": "user", "content": "Why?"}
    assert render_prompt([question]) == "Why?"
    conversation = [{"role": "system", "content": "Be brief."}, question]
    assert render_prompt(conversation) == "System: Be brief.\n\nUser: Why?"
