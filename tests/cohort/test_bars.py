"""The bars of a cohort: headers first, then the images that are to be converted, out of so many."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import pytest
import rich.console
from cohort_samples import make_cohort, run

from voxarray.cohort.run.build import build
from voxarray.cohort.run.progress import ProgressListener, bars


class Listener(ProgressListener):
    """Keeps what it is told."""

    def __init__(self):
        self.started, self.ended, self.looked = [], [], []

    def start(self, items):
        self.started.append([item.subject for item in items])

    def end(self, result):
        self.ended.append(result)

    def planned(self, done, total):
        self.looked.append((done, total))


def test_a_watcher_is_told_what_will_be_converted(tmp_path):
    make_cohort(tmp_path / "scans", 4, 2)
    told = Listener()
    build(tmp_path / "scans", tmp_path / "cohort", watcher=told)
    assert told.looked[-1] == (6, 6)
    assert [len(items) for items in told.started] == [len(told.ended)]
    again = Listener()
    build(tmp_path / "scans", tmp_path / "cohort", watcher=again)
    assert again.started == []  # all there, or failed for good


def test_bars_count_images_and_voxels_to_their_end(tmp_path, monkeypatch):
    shown = io.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(
        rich.console, "Console", lambda **_: real(file=shown, force_terminal=True, width=200)
    )
    make_cohort(tmp_path / "scans", 4, 0)
    with bars() as watcher:
        build(tmp_path / "scans", tmp_path / "cohort", watcher=watcher)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    last = text.rpartition("images ")[2]
    assert "4/4" in last
    assert "7.5/7.5 KiB" in last  # 4 scans of 12 x 10 x 8 int16


def test_notebooks_keep_the_end_of_bars(tmp_path, monkeypatch):
    shown = []
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(force_jupyter=True, width=200))
    monkeypatch.setattr("rich.jupyter.display", lambda _, text: shown.append(text))
    monkeypatch.setattr("rich.live._RefreshThread.run", lambda _: None)  # the end alone
    make_cohort(tmp_path / "scans", 4, 0)
    with bars() as watcher:
        build(tmp_path / "scans", tmp_path / "cohort", watcher=watcher)
    last = next(text for text in reversed(shown) if "images" in text)
    assert last.startswith("4 images: 7.5 KiB in ")


@pytest.mark.parametrize("width", [40, 66, 100])
def test_lines_fit_into_narrow_terminals(width, tmp_path, monkeypatch):
    shown = io.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(
        rich.console, "Console", lambda **_: real(file=shown, force_terminal=True, width=width)
    )
    folder = tmp_path / "scans" / ("sub-" + "long" * 20)
    make_cohort(folder, 2, 0)
    with bars() as watcher:
        build(tmp_path / "scans", tmp_path / "cohort", watcher=watcher)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert max(map(len, lines)) <= width
    assert {line.split()[0] for line in lines} == {"images", "voxels"}  # none is continued
    assert "2/2" in text
    assert "3.8/3.8 KiB" in text
    assert "?" not in text


def test_nothing_is_shown_where_nothing_is_to_be_seen(monkeypatch):
    """Not an empty block below the cell: a gap that stays."""
    shown = []
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda **_: real(force_jupyter=True, width=80))
    monkeypatch.setattr("rich.jupyter.display", lambda _, text: shown.append(text))
    with bars() as watcher:
        watcher.planned(1, 2)
    assert shown
    assert all(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).strip() for text in shown)


@pytest.mark.parametrize("command", ["convert", "plan", "verify"])
def test_no_bars_in_pipes_that_force_colours(command, tmp_path):
    make_cohort(tmp_path / "scans", 2, 0)
    if command == "verify":
        assert run("convert", tmp_path / "scans", tmp_path / "cohort").exit_code == 0
    arguments = ["cohort"] if command == "verify" else ["scans", "cohort"]
    answer = subprocess.run(
        [sys.executable, "-m", "voxarray", command, *arguments],
        cwd=tmp_path,
        env={**os.environ, "FORCE_COLOR": "1"},  # as a notebook sets it
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in answer.stdout + answer.stderr
