"""Chunks through threads, and arrays that grow: with no more in memory than was agreed."""

from __future__ import annotations

import mmap
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
R = TypeVar("R")


def map_chunks(work: Callable[[T], R], chunks: Iterable[T], threads: int = 2) -> Iterator[R]:
    """`work` of each chunk, in order, on `threads` threads (it should let go of the interpreter's
    lock, as the kernels do). A chunk more than there are threads is taken ahead, and no further."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Store:
    """Numbers of one kind, appended piece by piece and then read as one array: in memory up to
    `limit` bytes, from there on in an unnamed file in `folder`, which ends with the process."""

    def __init__(self, dtype: Any, limit: int, folder: Path | None = None) -> None:
        self.dtype, self.limit, self.folder = np.dtype(dtype), limit, folder
        self.size = 0
        self._pieces: list[NDArray[Any]] = []
        self._file: Any = None
        self._map: mmap.mmap | None = None

    def append(self, piece: NDArray[Any]) -> None:
        """Add the numbers of `piece`, which must not change any more."""
        self.size += piece.size
        if self._file is None and self.size * self.dtype.itemsize <= self.limit:
            self._pieces.append(piece.ravel())
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - kept open
            for held in self._pieces:
                self._file.write(memoryview(held).cast("B"))
            self._pieces = []
        self._file.write(memoryview(np.ascontiguousarray(piece).ravel()).cast("B"))

    def read(self) -> NDArray[Any]:
        """All that was appended, in order: not to be written to."""
        if self._file is None:
            whole = np.concatenate([np.zeros(0, dtype=self.dtype), *self._pieces])
            self._pieces = [whole]
        else:
            self._file.flush()
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
            whole = np.frombuffer(self._map, dtype=self.dtype)
        whole.setflags(write=False)
        return whole

    def forget(self) -> None:
        """Let go of the pages that were read from the file (they are read again when wanted)."""
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)
