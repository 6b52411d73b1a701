"""Ctrl-C in a callback whose exceptions Python drops."""

import sys
import time

import pytest

from voxarray.cli.outcome import interrupts_heard


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

    with interrupts_heard(), pytest.raises(KeyboardInterrupt):
        dropped_and_waited_for()
    assert capsys.readouterr().err == ""


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
