"""The desk where people judge pairs: pushing tasks to Label Studio and pulling what they said.

The lake's `reviews` say what waits; the desk only shows it. So a push lists first and imports what
is missing (a second import of a task would be a second task), and a pull reads every submitted
annotation, skipped and empty ones too, for the caller to tell revisions and invalid ones apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from schemas.errors import AssayError
from schemas.ids import make_id

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

Choice = Literal["left", "right", "tie"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie")
TASK_KEYS = frozenset({"review_id", "prompt", "left", "right"})
PERSON = "person-"
BATCH = 500
SECONDS = 120.0


class DeskUnreachable(AssayError):
    """Nothing, or no Label Studio, answers at the address, or it refuses the token."""


class DeskRefused(AssayError):
    """The desk cannot take this: a wrong labelling config, project or task."""


@dataclass(frozen=True)
class Desk:
    """A Label Studio server and the token that opens it (never printed). `local` is the one that
    Assay starts itself, whose port may be another each time."""

    url: str
    token: str = field(repr=False)
    local: bool = False

    @property
    def name(self) -> str:
        """What the lake knows the desk by: its URL, and of a local one what stays when its port
        changes. (Several people, each with a local desk of their own, may share a lake.)"""
        return f"local-{make_id('desk', self.token)[:16]}" if self.local else self.url


@dataclass(frozen=True)
class Annotation:
    """One submitted or skipped annotation of one person, as it stood when pulled.

    `unique_id` names the annotation and `updated_at` (aware) its revision. `choice` is None where
    there is no readable preference, and where the person skipped (`cancelled`). `review_id` is
    None where somebody put the task there by hand. `person` is a pseudonym; `raw` is the desk's
    JSON, which names the person by the desk's user id. `seconds` is the time spent.
    """

    review_id: str | None
    unique_id: str
    updated_at: datetime
    person: str
    choice: Choice | None
    comment: str | None
    seconds: float | None
    cancelled: bool
    raw: str


def connect_desk(url: str, token: str, *, local: bool = False) -> Desk:
    """Check that a Label Studio answers at `url` and takes `token`. `local`: see `Desk`.

    Raises:
        DeskUnreachable: it does not answer, is no Label Studio, or refuses the token.
    """
    desk = Desk(url.strip().rstrip("/"), token.strip(), local)
    if not desk.token:
        raise DeskUnreachable(
            f"no token for the Label Studio at {desk.url}: set LABEL_STUDIO_API_KEY to the access "
            "token of your account there"
        )
    with _speak_to(desk) as client:
        if not isinstance(client.users.whoami().id, int):
            raise DeskUnreachable(f"{desk.url} answers, but not as Label Studio: check the address")
    return desk


def ensure_project(desk: Desk, title: str, config_xml: str) -> int:
    """Find the project of that title, or make it; the oldest where there are several.

    Raises:
        DeskRefused: the config is invalid or has no `preference` of left, right and tie, or the
            project that exists asks another question.
        DeskUnreachable: see `connect_desk`.
    """
    asked = _read_question(config_xml, f"the labelling config for project {title!r}")
    if (asked.get("preference") or ("",))[1:] != tuple(sorted(CHOICES)):
        raise DeskRefused(
            f"the labelling config for project {title!r} must have a <Choices name='preference'> "
            f"with the values {', '.join(CHOICES)}; label_studio/pairwise.xml is one that has"
        )
    with _speak_to(desk) as client:
        found = [p for p in client.projects.list(title=title) if p.title == title]
        if not found:
            project = client.projects.create(
                title=title,
                label_config=config_xml,
                enable_empty_annotation=False,
                show_skip_button=True,
            )
            return int(project.id)
        project = min(found, key=lambda p: p.id)
        there = _read_question(project.label_config or "", f"project {title!r} at {desk.url}")
    if there != asked:
        raise DeskRefused(
            f"project {title!r} (id {project.id}) at {desk.url} asks {sorted(there)} and not "
            f"{sorted(asked)} with the same choices: rename it, or choose another title"
        )
    return int(project.id)


def push_tasks(desk: Desk, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Import the tasks that the project does not have yet.

    Args:
        tasks: each `review_id`, `prompt`, `left`, `right` (text), and nothing else: whatever is in
            a task can be read at the desk, so a policy's name would unblind it.

    Returns:
        The task id of every given review; the oldest where the project holds it twice.

    Raises:
        DeskRefused: a task has other keys or no text, or the desk took fewer than it was given.
        DeskUnreachable: see `connect_desk`. Push again: what was imported is not imported twice.
    """
    checked = [_check_task(task) for task in tasks]
    wanted = {task["review_id"]: task for task in checked}
    with _speak_to(desk) as client:
        known = _list_tasks(client, project_id)
        missing = [task for review_id, task in wanted.items() if review_id not in known]
        for start in range(0, len(missing), BATCH):
            client.projects.import_tasks(
                project_id,
                request=[{"data": task} for task in missing[start : start + BATCH]],
                # The client would send an import again after a 5xx, and import it twice.
                request_options={"max_retries": 0},
            )
        if missing:
            known = _list_tasks(client, project_id)
    lost = [review_id for review_id in wanted if review_id not in known]
    if lost:
        raise DeskRefused(
            f"{len(lost)} of {len(wanted)} tasks, {lost[0]} first, are not in project {project_id} "
            f"at {desk.url} after the import: look at the server's log and push again"
        )
    return {review_id: known[review_id] for review_id in wanted}


def pull_annotations(desk: Desk, project_id: int) -> list[Annotation]:
    """Every annotation of the project, skipped and empty ones too, oldest revision first.

    Drafts are not submitted, so they are not here.

    Raises:
        DeskUnreachable: see `connect_desk`.
        DeskRefused: no such project.
    """
    with _speak_to(desk) as client:
        client.projects.get(project_id)  # its 404 says what is missing, the export's does not
        chunks = client.projects.exports.download_sync(
            project_id, export_type="JSON", download_all_tasks=False
        )
        exported = json.loads(b"".join(chunks))
    annotations = [
        read_annotation(desk.name, task.get("data") or {}, annotation)
        for task in exported
        for annotation in task["annotations"]
    ]
    return sorted(annotations, key=lambda a: (a.updated_at, a.unique_id))


def read_annotation(desk: str, data: Mapping[str, Any], raw: Mapping[str, Any]) -> Annotation:
    """Read one annotation of an export of the desk of that name; results are told apart by
    `from_name`, for the interface writes a `to_name` of its own."""
    review_id = data.get("review_id")
    cancelled = bool(raw.get("was_cancelled"))
    chosen = _collect(raw, "preference", "choices")
    # Several choices are no preference; what was clicked before skipping is none either.
    choice = next((c for c in CHOICES if chosen == [c]), None) if not cancelled else None
    comment = "\n".join(_collect(raw, "comment", "text")).strip()
    return Annotation(
        review_id=None if review_id is None else str(review_id),
        unique_id=str(raw.get("unique_id") or f"{desk}/annotations/{raw['id']}"),
        updated_at=datetime.fromisoformat(raw["updated_at"]),
        person=name_person(desk, raw.get("completed_by")),
        choice=choice,
        comment=comment or None,
        seconds=raw.get("lead_time"),
        cancelled=cancelled,
        raw=json.dumps(raw, ensure_ascii=False, sort_keys=True),
    )


def name_person(desk: str, user_id: int | None) -> str:
    """The pseudonym of a user of the desk of that name: the same at every pull from it."""
    return f"{PERSON}{make_id('person', desk, user_id)[:16]}"


def _collect(raw: Mapping[str, Any], from_name: str, key: str) -> list[str]:
    values: list[str] = []
    for result in raw.get("result") or []:
        if result.get("from_name") == from_name:
            value = (result.get("value") or {}).get(key) or []
            values += [value] if isinstance(value, str) else map(str, value)
    return values


def _check_task(task: Mapping[str, Any]) -> dict[str, str]:
    if set(task) != TASK_KEYS or not all(isinstance(text, str) for text in task.values()):
        raise DeskRefused(
            f"the task of review {task.get('review_id')} must hold text under "
            f"{', '.join(sorted(TASK_KEYS))} and nothing else, not {', '.join(sorted(task))}"
        )
    return dict(task)


def _list_tasks(client: LabelStudio, project_id: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for task in client.tasks.list(project=project_id, page_size=BATCH, fields="task_only"):
        review_id = (task.data or {}).get("review_id")
        if review_id is not None:
            found[review_id] = min(task.id, found.get(review_id, task.id))
    return found


def _read_question(config_xml: str, where: str) -> dict[str, tuple[str, ...]]:
    """What a config asks: each control's name with its tag and its choices."""
    from label_studio_sdk.label_interface import LabelInterface

    try:
        interface = LabelInterface(config_xml)
        interface.validate()
        return {c.name: (c.tag, *sorted(c.labels)) for c in interface.controls}
    except Exception as error:  # the library's own kinds of error share no root
        raise DeskRefused(f"{where} is not valid: {error}") from error


@contextmanager
def _speak_to(desk: Desk) -> Iterator[LabelStudio]:
    """A client whose failures are told to people; the token is in no message."""
    import httpx
    from label_studio_sdk import LabelStudio
    from label_studio_sdk.core.api_error import ApiError

    try:
        with httpx.Client(follow_redirects=True) as http:
            yield LabelStudio(
                base_url=desk.url, api_key=desk.token, httpx_client=http, timeout=SECONDS
            )
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise DeskUnreachable(
            f"no Label Studio answers at {desk.url} ({type(error).__name__}): start one with "
            "`assay up label-studio`, or correct the address"
        ) from error
    except ApiError as error:
        if error.status_code in (401, 403):
            raise DeskUnreachable(
                f"the Label Studio at {desk.url} refuses the token: set LABEL_STUDIO_API_KEY to "
                "the access token of an account there, and if it is a legacy token, see that "
                "the organisation allows those"
            ) from error
        if isinstance(error.body, dict) and 400 <= (error.status_code or 0) < 500:
            said = error.body.get("validation_errors") or error.body.get("detail") or error.body
            raise DeskRefused(
                f"the Label Studio at {desk.url} refused with {error.status_code}: "
                f"{str(said)[:500]}; see that what it names is still there"
            ) from error
        raise DeskUnreachable(
            f"{desk.url} answered {error.status_code}, not as Label Studio does: correct the "
            "address, or if it is one, look at its log and try again"
        ) from error
