"""The bar: only for long work, only where somebody watches, gone afterwards."""

from __future__ import annotations

import io
import re

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


def _fail():
    def work():
        with progress.bar("work") as report:
            report(1, 2)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        work()


def test_the_bar_ends_when_work_fails(terminal, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    _fail()
    assert terminal.getvalue().endswith("\x1b[2K")


# --- What is counted ------------------------------------------------------------------------------


def _saved(tmp_path, suffix, dtype="i2", made=vx.ScalarImage):
    voxels = np.arange(70 * 60 * 50).reshape(1, 70, 60, 50) % 251
    path = tmp_path / f"scan{suffix}"
    made(tensor=voxels.astype(dtype)).save(path)
    return path


MEASURES = {
    "statistics": lambda path, told: vx.ScalarImage(path).statistics(progress=told),
    "masked": lambda path, told: vx.ScalarImage(path).statistics(vx.LabelMap(path), progress=told),
    "by label": lambda path, told: vx.ScalarImage(path).statistics_by_label(
        vx.LabelMap(path), progress=told
    ),
    "labels": lambda path, told: vx.LabelMap(path).count_labels(progress=told),
    "not 0": lambda path, told: vx.LabelMap(path).count_nonzero(progress=told),
    "evaluate": lambda path, told: vx.evaluate(path, path, surfaces=False, progress=told),
    "train": lambda path, told: vx.HistogramStandardization.train([path], progress=told),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
@pytest.mark.parametrize("dtype", ["i2", "f4"])
@pytest.mark.parametrize("measure", list(MEASURES))
def test_progress_counts_every_byte_once(tmp_path, measure, dtype, suffix):
    made = vx.LabelMap if measure == "evaluate" else vx.ScalarImage
    path = _saved(tmp_path, suffix, dtype, made)
    told = []
    MEASURES[measure](path, lambda *both: told.append(both))
    size = 70 * 60 * 50 * np.dtype(dtype).itemsize
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_histograms_tell_each_pass(tmp_path):
    import matplotlib

    matplotlib.use("agg")
    told = []
    image = vx.ScalarImage(_saved(tmp_path, ".nii", "f4"))
    image.hist(show=False, progress=lambda *both: told.append(both))
    assert [done == total for done, total in told].count(True) == 3  # extremes, quartiles, bins


def test_what_is_remembered_tells_nothing(tmp_path):
    image = vx.ScalarImage(_saved(tmp_path, ".nii"))
    image.statistics()
    told = []
    image.statistics(progress=lambda *both: told.append(both))
    assert not told


@pytest.mark.parametrize("measure", list(MEASURES))
def test_long_counts_show_a_bar_of_their_subject(terminal, monkeypatch, tmp_path, measure):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    path = _saved(tmp_path, ".nii")
    terminal.truncate(0)
    MEASURES[measure](path, None)
    text = terminal.getvalue()
    assert "scan.nii" in text
    assert "KiB" in text
    assert text.endswith("\x1b[2K")


def test_progress_false_shows_no_bar(terminal, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    vx.ScalarImage(_saved(tmp_path, ".nii")).statistics(progress=False)
    assert "statistics" not in terminal.getvalue()


# --- What stays -----------------------------------------------------------------------------------


@pytest.fixture
def notebook(monkeypatch):
    """Texts that a notebook is given to show."""
    import rich.jupyter

    shown = []
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(force_jupyter=True, width=100))
    monkeypatch.setattr(rich.jupyter, "display", lambda _, text: shown.append(text))
    return shown


def test_a_notebook_keeps_a_line_of_result(notebook, monkeypatch, tmp_path):
    path = _saved(tmp_path, ".nii.gz")
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    vx.ScalarImage(path).statistics()
    assert re.fullmatch(
        r"scan\.nii\.gz: statistics: 410\.2 KiB in \d+\.\d s, [\d.]+ [KMG]iB/s\n", notebook[-1]
    )


def test_the_line_of_result_counts_all_passes(notebook, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    with progress.bar("histogram") as report:
        for done in (512, 1024, 512, 1024):  # a histogram of floats reads the voxels again
            report(done, 1024)
    assert notebook[-1].startswith("histogram: 2.0 KiB in ")


def test_a_notebook_keeps_no_line_of_short_work(notebook, tmp_path):
    vx.ScalarImage(_saved(tmp_path, ".nii")).statistics()
    assert not notebook


def test_a_notebook_keeps_no_line_of_what_failed(notebook, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    _fail()
    assert not any("work:" in text for text in notebook)


def test_a_notebook_keeps_one_line_of_many_files(notebook, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", -1)
    with progress.reporting_each(None, 2) as begin:
        for name in "ab":
            report = begin(name)
            report(512, 1024)
            report(1024, 1024)
    assert notebook[-1].startswith("2 files: 2.0 KiB in ")


def test_a_notebook_keeps_one_line_of_a_cohort(notebook, tmp_path):
    (tmp_path / "scans").mkdir()
    _saved(tmp_path / "scans", ".nii")
    vx.convert_cohort(tmp_path / "scans", tmp_path / "cohort")
    assert notebook[-1].startswith("1 image: 410.2 KiB in ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "0:01:00"), (7384, "2:03:04")]
)
def test_durations(seconds, text):
    assert progress.format_duration(seconds) == text
