"""Work of a task in a thread beside the one that dask looks at."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from voxarray.cohort.run.unsampled import unsampled

worker = ContextVar[str]("worker")


def test_another_thread_knows_the_worker():
    worker.set("here")
    seen, thread = unsampled(lambda: (worker.get(), threading.get_ident()))
    assert seen == "here"
    assert thread != threading.get_ident()


def test_errors_come_back():
    with pytest.raises(ZeroDivisionError):
        unsampled(lambda: 1 // 0)
