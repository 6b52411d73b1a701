"""The SHA-256 of a file, computed beside the reading of it."""

from __future__ import annotations

import hashlib
import os
import threading

from voxarray.core import portable

_PIECE = 1 << 20

_SMALL = 1 << 19
"""Bytes that are hashed in less time than a thread takes to start and to be waited for."""


class FileDigest:
    """A thread that reads a file, front to back, and hashes it; a small one is hashed at once.

    The thread reads for itself rather than what the decoder reads: the bytes come from the page
    cache, nothing has to be copied or waited for, and hashing (which releases the GIL) takes
    another core. Whether the file stayed the same is for the owner of the descriptor to check.

    Args:
        fd: Descriptor, open until `result` or `cancel` has returned.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._hash = hashlib.sha256()
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None
        size = os.fstat(fd).st_size
        if size <= _SMALL:
            self._hash_at_once(size)
        else:
            self._cancelled = threading.Event()
            self._thread = threading.Thread(target=self._run, name="voxarray-digest", daemon=True)
            self._thread.start()

    def _hash_at_once(self, size: int) -> None:
        position = 0
        try:
            # One more byte shows whether it has grown; some file systems give fewer than asked.
            while data := portable.pread(self._fd, max(size - position, 0) + 1, position):
                self._hash.update(data)
                position += len(data)
        except OSError as error:
            self._error = error

    def _run(self) -> None:
        buffer = memoryview(bytearray(_PIECE))
        position = 0
        try:
            while not self._cancelled.is_set():
                count = portable.preadv(self._fd, [buffer], position)
                if count == 0:
                    return
                self._hash.update(buffer[:count])
                position += count
        except OSError as error:
            self._error = error

    def result(self) -> str:
        """SHA-256 as hexadecimal digits, waiting for it.

        Raises:
            OSError: The file could not be read.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def cancel(self) -> None:
        """Stop reading."""
        if self._thread is not None:
            self._cancelled.set()
            self._thread.join()
