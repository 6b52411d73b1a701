"""The bar: only for long work, only where somebody watches, gone afterwards."""

from __future__ import annotations

import io

import numpy as np
import pytest
import rich.console

import voxarray as vx
from voxarray.core import progress


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal is shown."""
    shown = io.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(
        rich.console, "Console", lambda **_: real(file=shown, force_terminal=True, width=100)
    )
    return shown


def test_long_work_shows_a_bar(terminal, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    vx.ScalarImage(tensor=np.zeros((1, 9, 8, 7), np.int16)).save(tmp_path / "scan.ome.zarr")
    text = terminal.getvalue()
    assert "scan.ome.zarr" in text
    assert "1.0/1.0 KiB" in text or "1,008" in text
    assert text.endswith("\x1b[2K")  # the line is cleared at the end


def test_short_work_shows_none(terminal, tmp_path):
    vx.ScalarImage(tensor=np.zeros((1, 9, 8, 7), np.int16)).save(tmp_path / "scan.ome.zarr")
    assert not terminal.getvalue()


def test_pipes_show_none(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    vx.ScalarImage(tensor=np.zeros((1, 9, 8, 7), np.int16)).save(tmp_path / "scan.ome.zarr")
    assert capsys.readouterr() == ("", "")


def test_the_bar_ends_when_work_fails(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)

    def fail():
        with progress.bar("work") as report:
            report(1, 2)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert terminal.getvalue().endswith("\x1b[2K")
