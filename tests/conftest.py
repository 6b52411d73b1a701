from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import weakref
from contextlib import contextmanager

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


class Records(logging.Handler):
    """What is logged during a test, as pytest tells of one that fails."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)-8s %(name)s: %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


RECORDS = Records()
LOGGING = pytest.StashKey[object]()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    # Six times for each test, pytest's plugin goes through all loggers there are for some that do
    # not propagate: 2 ms, where torch and numba are loaded. One handler of all tests is enough for
    # those that do not ask for caplog.
    manager, options = session.config.pluginmanager, session.config.option
    if not manager.has_plugin("logging-plugin") or (
        options.log_cli_level or options.log_file or session.config.getini("log_cli")
    ):
        return (yield)
    plugin = manager.unregister(name="logging-plugin")
    session.config.stash[LOGGING] = plugin
    logging.getLogger().addHandler(RECORDS)
    try:
        return (yield)
    finally:
        logging.getLogger().removeHandler(RECORDS)
        manager.register(plugin, "logging-plugin")


@contextmanager
def _logging_for(item):
    """The plugin for a test that asks for it."""
    plugin = item.config.stash.get(LOGGING, None)
    if plugin is None or "caplog" not in item.fixturenames:
        yield
        return
    item.config.pluginmanager.register(plugin, "logging-plugin")
    try:
        yield
    finally:
        item.config.pluginmanager.unregister(plugin)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    try:
        return (yield)
    finally:
        if RECORDS.lines:
            item.add_report_section("call", "log", "\n".join(RECORDS.lines))


# A hook, since fixtures that every test has were a fifth of what a small test takes.
@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    RECORDS.lines.clear()
    with (
        pytest.MonkeyPatch.context() as patch,
        _logging_for(item),
        _loaders_end_with_their_test(patch),
    ):
        if "syncs" not in item.keywords:
            _wait_for_no_disk(patch)
        return (yield)


def _wait_for_no_disk(patch):
    # Half the time of a small conversion; what is synced when is tested where it is the subject.
    patch.setattr(os, "fsync", lambda _: None)
    portable = sys.modules.get("voxarray.core.portable")
    if portable is not None:
        patch.setattr(portable, "syncfs", lambda _: None)


@contextmanager
def _loaders_end_with_their_test(patch):
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

    patch.setattr(loading.DataLoader, "_get_iterator", remembered)
    yield
    for iterator in list(begun):
        if isinstance(iterator, loading._MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()
