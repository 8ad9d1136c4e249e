"""Projects of the desk: one per title, asking one question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from annotators.desk.client import Desk, DeskRefused, ask, speak_to
from annotators.desk.questions import render_config
from annotators.rubrics.rubric import Criterion


def ensure_project(
    desk: Desk,
    title: str,
    question: str,
    *,
    criteria: Sequence[Criterion] = (),
    show_predictions: bool = False,
    description: str = "",
) -> int:
    """Find the project of that title, or make it; the oldest where there are several.

    Args:
        criteria: rated one by one, by a preference only.
        show_predictions: whether annotators see what judges said. A project that was made with
            the other setting is changed.
        description: what a new project's card says to people who choose where to work.

    Raises:
        DeskRefused: no such question, or the project that exists asks another one, or other
            criteria.
        DeskUnreachable: see `annotators.desk.client.speak_to`.
    """
    config = render_config(question, criteria)
    asked = read_controls(config, f"the labelling config of {question}")
    settings = {"show_collab_predictions": show_predictions}
    with speak_to(desk) as client:
        project = _find_project(client, title)
        if project is None:
            project = ask(
                client,
                "POST",
                "/api/projects",
                json={
                    "title": title,
                    "description": description,
                    "label_config": config,
                    "enable_empty_annotation": False,
                    "show_skip_button": True,
                    **settings,
                },
            )
            return int(project["id"])
        there = read_controls(project["label_config"] or "", f"project {title!r} at {desk.url}")
        if there != asked:
            differ = sorted(there.items() ^ asked.items())
            raise DeskRefused(
                f"project {title!r} (id {project['id']}) at {desk.url} does not ask what "
                f"{question} asks here (they differ in {', '.join(dict(differ))}): put its "
                "labelling config back, rename it, or choose another title"
            )
        if project["show_collab_predictions"] != show_predictions:
            ask(client, "PATCH", f"/api/projects/{project['id']}", json=settings)
    return int(project["id"])


def read_controls(config_xml: str, where: str) -> dict[str, tuple[str, ...]]:
    """What a config asks: each control's name with its tag and its choices.

    Raises:
        DeskRefused: the config is not valid; `where` says whose it is.
    """
    interface = read_interface(config_xml, where)
    return {c.name: (c.tag, *sorted(c.labels)) for c in interface.controls}


def read_interface(config_xml: str, where: str) -> Any:
    """The config as the library sees it, which also tells whether a prediction fits. See
    `read_controls`."""
    from label_studio_sdk.label_interface import LabelInterface

    try:
        interface = LabelInterface(config_xml)
        interface.validate()
    except Exception as error:  # the library's own kinds of error share no root
        raise DeskRefused(f"{where} is not valid: {error}") from error
    return interface


def _find_project(client: httpx.Client, title: str) -> dict[str, Any] | None:
    """The oldest project of exactly that title; the desk looks for titles that contain it."""
    page, found = 1, []
    while True:
        answer = ask(
            client, "GET", "/api/projects", params={"title": title, "page": page, "page_size": 100}
        )
        found += [project for project in answer["results"] if project["title"] == title]
        if not answer.get("next"):
            return min(found, key=lambda project: project["id"], default=None)
        page += 1
