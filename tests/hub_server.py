"""A stand-in for the Hub that speaks what the official client sends for a commit.

It makes repositories, says which files go by LFS, takes their bytes, and commits; it remembers
everything. As on the real Hub, Parquet goes by LFS, and an LFS file is committed by its hash only
after its bytes have come. A wrong token gets 403.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Commit:
    """One commit: where it went, its message and description, and the files by path."""

    repository: str
    summary: str
    description: str
    files: dict[str, bytes]


@dataclass
class Hub:
    """The hub as a test sees it; `fail_uploads` refuses the bytes of LFS files."""

    token: str
    fail_uploads: bool = False
    url: str = ""
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"{body['organization']}/{body['name']}"
        known = name in self.repositories
        self.repositories.setdefault(name, body)
        answer = {"url": f"{self.url}/datasets/{name}"}
        if known:
            answer["error"] = "You already created this dataset repo"
        return web.json_response(answer, status=409 if known else 200)

    async def preupload(self, request: web.Request) -> web.Response:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                "shouldIgnore": False,
            }
            for file in (await request.json())["files"]
        ]
        return web.json_response({"files": files})

    async def batch(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.url}/objects/{item['oid']}"}}}
            for item in body["objects"]
        ]
        return web.json_response({"transfer": "basic", "objects": objects})

    async def upload(self, request: web.Request) -> web.Response:
        if self.fail_uploads:
            return web.Response(status=403)
        content = await request.read()
        oid = request.match_info["oid"]
        if hashlib.sha256(content).hexdigest() != oid:
            return web.Response(status=400)
        self.objects[oid] = content
        return web.Response()

    async def commit(self, request: web.Request) -> web.Response:
        name = f"{request.match_info['organization']}/{request.match_info['name']}"
        if name not in self.repositories:
            return web.json_response({"error": "Repository not found"}, status=404)
        lines = [json.loads(line) for line in (await request.read()).splitlines()]
        header, files = lines[0]["value"], {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile" and value["oid"] in self.objects:
                files[value["path"]] = self.objects[value["oid"]]
            else:
                return web.json_response({"error": f"cannot do {line['key']}"}, status=400)
        self.commits.append(Commit(name, header["summary"], header["description"], files))
        oid = f"{len(self.commits):040x}"
        url = f"{self.url}/datasets/{name}/commit/{oid}"
        return web.json_response({"success": True, "commitOid": oid, "commitUrl": url})

    async def validate(self, _: web.Request) -> web.Response:
        return web.json_response({"errors": [], "warnings": []})

    async def info(self, _: web.Request) -> web.Response:
        return web.json_response({"error": "Repository not found"}, status=404)

    @web.middleware
    async def check_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        named = request.headers.get("Authorization") == f"Bearer {self.token}"
        if request.method == "POST" and not named:  # a PUT goes to an address given to who was
            self.refused.append(f"{request.method} {request.path}")
            return web.json_response({"error": "You may not write here"}, status=403)
        return await handler(request)

    def make_app(self) -> web.Application:
        app = web.Application(middlewares=[self.check_token], client_max_size=2**26)
        repository = "/api/datasets/{organization}/{name}"
        app.add_routes(
            [
                web.post("/api/repos/create", self.create),
                web.post("/api/validate-yaml", self.validate),
                web.get(repository, self.info),
                web.post(f"{repository}/preupload/main", self.preupload),
                web.post(f"{repository}/commit/main", self.commit),
                web.post("/datasets/{organization}/{name}.git/info/lfs/objects/batch", self.batch),
                web.put("/objects/{oid}", self.upload),
            ]
        )
        return app


@contextmanager
def run_hub(token: str, *, fail_uploads: bool = False) -> Iterator[Hub]:
    """Serve a hub from a thread; `HF_ENDPOINT` is its `url`."""
    hub = Hub(token, fail_uploads)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(hub.make_app(), access_log=None)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield hub
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
