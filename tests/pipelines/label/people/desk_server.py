"""A server that speaks as much of Label Studio's API as pushes and pulls need, slowly if wanted."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit


class DeskServer(http.server.ThreadingHTTPServer):
    """One project. `import_seconds` and `export_seconds` are what an import and an export take."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.token = "token"
        self.import_seconds = self.export_seconds = 0.0
        self.project: dict[str, Any] = {}
        self.tasks: list[dict[str, Any]] = []

    def annotate(self, task_id: int, choice: str) -> None:
        """Somebody answers a task."""
        task, now = self.tasks[task_id - 1], datetime.now(UTC).isoformat()
        result = {"from_name": "preference", "type": "choices", "value": {"choices": [choice]}}
        task["updated_at"] = now
        task["annotations"].append(
            {"id": task_id * 100, "completed_by": 1, "result": [result], "created_at": now,
             "updated_at": now, "lead_time": 1.0, "was_cancelled": False}
        )  # fmt: skip

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        if path == "/api/current-user/whoami":
            return {"id": 1}
        if path == "/api/projects" and method == "GET":
            return {"results": [self.project] if self.project else [], "next": None}
        if path == "/api/projects":
            settings = {"id": 1, "maximum_annotations": 1}
            self.project = {**settings, "show_collab_predictions": False, **body}
            return self.project
        if path == "/api/projects/1/import":
            time.sleep(self.import_seconds)
            now = datetime.now(UTC).isoformat()
            for task in body:
                number = len(self.tasks) + 1
                self.tasks.append({"id": number, "updated_at": now, "annotations": [], **task})
            return {"task_ids": [task["id"] for task in self.tasks[-len(body) :]]}
        if path == "/api/projects/1/export":
            time.sleep(self.export_seconds)
            return [task for task in self.tasks if task["annotations"]]
        if path == "/api/projects/1":
            return {**self.project, "task_number": len(self.tasks)}
        (ordering,) = json.loads(query["query"][0]).get("ordering", ["tasks:id"])
        key = "updated_at" if "updated_at" in ordering else "id"
        ordered = sorted(self.tasks, key=lambda t: t[key], reverse=ordering.startswith("-"))
        return {"tasks": ordered, "total": len(ordered)}


class _Answer(http.server.BaseHTTPRequestHandler):
    server: DeskServer

    def _respond(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        if self.headers["Authorization"] == f"Token {self.server.token}":
            url = urlsplit(self.path)
            said, status = self.server.answer(
                self.command, url.path, parse_qs(url.query), body
            ), 200  # fmt: skip
        else:
            said, status = {"detail": "Invalid token."}, 401
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve_desk() -> Iterator[DeskServer]:
    """The server, while the block runs."""
    server = DeskServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
