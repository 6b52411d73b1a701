from __future__ import annotations

import gc
import os
import signal
import sys
import weakref

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code. By default the same
# examples are tried in every run, so that a change is judged by what it changed; `make soak`
# explores new ones (HYPOTHESIS_PROFILE=explore).
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Several workers share the cores: threads of OpenMP and BLAS would wait for each other by spinning,
# and starting them is a tenth of a small process.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A shell that runs the suite in the background has it ignore Ctrl-C, and nohup the end of its
# terminal; every program that tests start and interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Hundreds of tests start a Python of their own, and none should compile the package again; nor
# should each worker of each run rewrite the assertions of all tests, a fifth of collecting them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A third of collecting the tests, and a twentieth of running them, was looking again and again
# through what collecting makes for something to free: nothing of it is garbage before the end.
gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(request, monkeypatch):
    # Half the time of a small conversion; what is synced when is tested where it is the subject.
    if "syncs" not in request.keywords:
        monkeypatch.setattr(os, "fsync", lambda _: None)
        if "voxarray.core.portable" in sys.modules:
            monkeypatch.setattr("voxarray.core.portable.syncfs", lambda _: None)


@pytest.fixture(autouse=True)
def _loaders_end_with_their_test(monkeypatch):
    # An iterator that an error ended is garbage with its traceback, and its queues are collected
    # before it: torch then waits 5 s for each worker, in the middle of some later test.
    loading = sys.modules.get("torch.utils.data.dataloader")
    if loading is None:
        yield
        return
    begun = weakref.WeakSet()
    begin = loading.DataLoader._get_iterator

    def remembered(loader):
        made = begin(loader)
        begun.add(made)
        return made

    monkeypatch.setattr(loading.DataLoader, "_get_iterator", remembered)
    yield
    for iterator in list(begun):
        if isinstance(iterator, loading._MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()
