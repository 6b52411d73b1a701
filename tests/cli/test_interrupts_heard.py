"""Ctrl-C in a callback whose exceptions Python drops."""

import os
import signal
import sys
import time

import pytest

from voxarray.cli.outcome import interrupts_heard, told_when_stopped
from voxarray.cohort.run.interrupts import stoppable
from voxarray.core.exit_codes import STOPPED


class _Interrupted:
    def __del__(self):
        raise KeyboardInterrupt


class _Broken:
    def __del__(self):
        raise ValueError("of a finaliser")


def test_an_interrupt_of_a_finaliser_comes_again(capsys):
    def dropped_and_waited_for():
        _Interrupted()
        time.sleep(10)

    began = time.monotonic()
    with interrupts_heard(), pytest.raises(KeyboardInterrupt):
        dropped_and_waited_for()
    assert capsys.readouterr().err == ""
    if os.name == "posix":  # elsewhere it comes when the waiting ends
        assert time.monotonic() - began < 5


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_of_a_job_system_comes_again_where_interrupts_are_ignored():
    """A shell script ignores Ctrl-C for what it starts with ``&``, as a job array does."""

    class Stopping:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def stopped_and_waited_for():
        Stopping()
        time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_heard(), stoppable(), pytest.raises(KeyboardInterrupt):
            stopped_and_waited_for()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_exceptions_of_finalisers_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with interrupts_heard():
        _Broken()
    assert [one.exc_type for one in told] == [ValueError]


def test_the_hook_of_before_is_put_back():
    before = sys.unraisablehook
    with interrupts_heard():
        assert sys.unraisablehook is not before
    assert sys.unraisablehook is before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("new", "new was not made; run"),
        ("", "is not finished; what exists there is kept; run"),
        (
            "s3://user:secret@bucket/new",
            "bucket/new is not finished; what exists there is kept; run",
        ),
    ],
)
def test_what_is_there_is_not_said_to_be_unmade(tmp_path, capsys, name, told):
    """A cohort that gets layers was said to be not made, though it is there."""
    destination = name if "://" in name else str(tmp_path / name)
    with pytest.raises(SystemExit) as ended, told_when_stopped(destination):
        raise KeyboardInterrupt
    assert ended.value.code == STOPPED
    said = capsys.readouterr().err
    assert told in said
    assert "secret" not in said
    assert ("not made" in said) == (name == "new")
