"""Model calls as a stage: wanted minus done, results committed as they come.

A killed run loses at most `UNCOMMITTED` results plus the requests in flight; everything else is
in the lake and is never asked for again. A call that ends without a result becomes a row in
`failures` and is tried again only when asked, once a run; but calls that end so while the server
answers nothing at all say more of the server than of themselves, and leave no row.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import polars as pl

from engines.chat import (
    WAITING_RESULTS,
    ChatRequest,
    ChatResult,
    Endpoint,
    ServerUnreachable,
    stream_results,
)
from pipelines.lake.catalogue import Lake, LakeError
from pipelines.lake.run import Run, StageSummary

UNCOMMITTED = 256
COMMIT_ROWS = 150
GATHERED = UNCOMMITTED - WAITING_RESULTS - COMMIT_ROWS  # while a commit runs
COMMIT_SECONDS = 5.0
UNANSWERED = 10
"""So many failures and no answer are the server's fault."""

Tables = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Call:
    """A request and what the caller needs to know to turn its result into rows."""

    request: ChatRequest
    context: Any = None
    prompt_id: str | None = None


def run_calls(
    lake: Lake,
    run: Run,
    *,
    stage: str,
    start: Callable[[], Endpoint],
    wanted: Sequence[Call],
    done_table: str,
    to_rows: Callable[[Call, ChatResult], Tables],
    limit: int | None = None,
) -> StageSummary:
    """Make the calls of `wanted` that the lake has no result for.

    Args:
        start: gives the endpoint (and starts a local server); not called when no work remains.
        wanted: every call the recipe asks for, done or not.
        done_table: the table whose `request_id` says that a call has its result.
        to_rows: rows by table for one result; one of them must go to `done_table` and carry the
            request id, or the call would be paid for again.
        limit: the most calls to make now; what is left is `extra["remaining"]`.

    Returns:
        A summary in which a failed call counts as dropped (`call_failed`). `extra` holds `calls`
        (made now), `reused`, `remaining`, `failures` by cause, `tokens_in`, `tokens_out`.

    Raises:
        engines.chat.ServerUnreachable: the server is down, or answered none of `UNANSWERED` calls
            or more; what it had answered is committed.
        LakeError: the lake cannot be written.
    """
    started = time.monotonic()
    with lake.lease(stage, run):
        wanted_by_id = {call.request.request_id: call for call in wanted}
        done, failed, failed_now = _find_done(lake, run, wanted_by_id, done_table)
        given_up = (failed_now if run.retry_failed else failed.keys()) - done
        todo = [
            call for key, call in wanted_by_id.items() if key not in done and key not in given_up
        ]
        remaining = max(0, len(todo) - limit) if limit is not None else 0
        todo = todo[: len(todo) - remaining]
        tally = _Tally()
        if todo:
            committer = _Committer(lake, run, stage, to_rows, failed, tally, len(todo))
            endpoint = start()
            with lake.commit_small():
                asyncio.run(committer.consume(endpoint, todo))
    failures = tally.failures
    lost = sum(failures.values()) + len(given_up)
    rows_in = len(wanted_by_id) - remaining
    return StageSummary(
        stage=stage,
        rows_in=rows_in,
        kept=rows_in - lost,
        dropped={"call_failed": lost} if lost else {},
        seconds=time.monotonic() - started,
        extra={
            "calls": len(todo),
            "reused": len(done),
            "remaining": remaining,
            "failures": dict(failures),
            "tokens_in": tally.tokens_in,
            "tokens_out": tally.tokens_out,
        },
    )


def _find_done(
    lake: Lake, run: Run, wanted: Iterable[str], done_table: str
) -> tuple[set[str], dict[str, int], set[str]]:
    """Request ids that have a result, those that have failed with their last attempt, and those
    of them that failed in this run."""
    frame = pl.DataFrame({"request_id": list(wanted)}, schema={"request_id": pl.String})
    done = lake.query(
        f"SELECT DISTINCT request_id FROM {done_table} SEMI JOIN wanted USING (request_id)",
        wanted=frame,
    )
    failed = lake.query(
        "SELECT request_id, max(attempt) AS attempt, bool_or(run_id = ?) AS now FROM failures "
        "SEMI JOIN wanted USING (request_id) GROUP BY request_id",
        [run.run_id],
        wanted=frame,
    )
    attempts = dict(failed.select("request_id", "attempt").iter_rows())
    return set(done["request_id"]), attempts, set(failed.filter("now")["request_id"])


class _Tally:
    """What the calls of this stage came to."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.tokens_in = 0
        self.tokens_out = 0

    def add(self, result: ChatResult) -> None:
        self.tokens_in += result.tokens_in or 0
        self.tokens_out += result.tokens_out or 0
        if result.error is not None:
            self.failures[result.error] = self.failures.get(result.error, 0) + 1


class _Committer:
    """Takes results from the client and keeps at most `UNCOMMITTED` of them out of the lake.

    One commit runs at a time, in a thread, while the next results gather.
    """

    def __init__(
        self,
        lake: Lake,
        run: Run,
        stage: str,
        to_rows: Callable[[Call, ChatResult], Tables],
        failed: Mapping[str, int],
        tally: _Tally,
        total: int,
    ) -> None:
        self._lake, self._run, self._stage = lake, run, stage
        self._to_rows, self._failed, self._tally = to_rows, failed, tally
        self._total = total
        self._committed = 0
        self._buffer: list[tuple[Call, ChatResult]] = []
        self._held: list[tuple[Call, ChatResult]] = []  # failures before the first answer
        self._answered = run.retry_failed  # who asks for failures again wants them counted
        self._oldest = 0.0
        self._commit: asyncio.Task[int] | None = None
        self._turn = asyncio.Lock()

    async def consume(self, endpoint: Endpoint, calls: Sequence[Call]) -> None:
        """Make the calls and commit their results; what has come is committed even on an error.

        Raises:
            LakeError: a commit failed, whoever started it.
            ServerUnreachable: see `run_calls`.
        """
        by_id = {call.request.request_id: call for call in calls}
        requests = (call.request for call in calls)
        ticker = asyncio.create_task(self._tick())
        came = 0
        try:
            async with aclosing(stream_results(endpoint, requests)) as results:
                async for result in results:
                    came += 1
                    self._tally.add(result)
                    self._take(by_id[result.request_id], result)
                    if len(self._buffer) >= GATHERED:
                        await self._wait()
                    if len(self._buffer) >= COMMIT_ROWS:
                        await self._flush()
                    if ticker.done():
                        break  # its commit failed
            self._release(endpoint)
        finally:
            ticker.cancel()
            await asyncio.wait([ticker])
            failure = None if ticker.cancelled() else ticker.exception()
            await self._flush()
            await self._finish()
            if failure:
                raise failure
        if self._committed != came:
            raise LakeError(
                f"{self._stage}: {came} results came and {self._committed} were committed; run "
                "the same command again"
            )

    def _take(self, call: Call, result: ChatResult) -> None:
        self._answered = self._answered or result.error is None
        if not self._answered:
            self._held.append((call, result))
            return
        if not self._buffer:
            self._oldest = time.monotonic()
        self._buffer += [*self._held, (call, result)]
        self._held = []

    def _release(self, endpoint: Endpoint) -> None:
        """Let go of failures that no answer followed: few are rows, many are an outage."""
        held, self._held = self._held, []
        if len(held) >= UNANSWERED:
            last = held[-1][1]
            raise ServerUnreachable(
                f"{endpoint.url} answered none of {len(held)} requests (last: {last.error}: "
                f"{(last.error_detail or '')[:200]}); look at the server's log, then run the same "
                "command again. If it is these requests that it cannot answer, --retry-failed "
                "records them as failures"
            )
        self._buffer += held

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS / 5)
            idle = self._commit is None or self._commit.done()
            if idle and self._buffer and time.monotonic() - self._oldest >= COMMIT_SECONDS:
                await self._flush()

    async def _flush(self) -> None:
        """Wait for the commit that runs, then start the next."""
        async with self._turn:
            await self._finish()
            batch, self._buffer = self._buffer, []
            if batch:
                self._commit = asyncio.create_task(asyncio.to_thread(self._write, batch))

    async def _wait(self) -> None:
        async with self._turn:
            await self._finish()

    async def _finish(self) -> None:
        """Wait for the commit that runs; who is cancelled meanwhile leaves it running."""
        if self._commit is not None:
            await asyncio.wait([self._commit])
            commit, self._commit = self._commit, None
            self._committed += commit.result()
            self._run.progress(self._stage, self._committed, self._total)

    def _write(self, batch: Sequence[tuple[Call, ChatResult]]) -> int:
        tables: dict[str, list[Mapping[str, Any]]] = {}
        for call, result in batch:
            if result.error is None:
                rows = self._to_rows(call, result)
            else:
                rows = {"failures": [self._failure(call, result)]}
            for table, table_rows in rows.items():
                tables.setdefault(table, []).extend(table_rows)
        self._lake.append(tables, run=self._run, stage=self._stage, message=f"{len(batch)} results")
        return len(batch)

    def _failure(self, call: Call, result: ChatResult) -> dict[str, Any]:
        return {
            "request_id": result.request_id,
            "attempt": self._failed.get(result.request_id, 0) + 1,
            "stage": self._stage,
            "prompt_id": call.prompt_id,
            "cause": result.error,
            "detail": result.error_detail,
            "tries": result.tries,
            "seconds": result.seconds,
        }
