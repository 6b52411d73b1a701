"""Images that workers completed, of which the run did not hear any more."""

from __future__ import annotations

import json
from concurrent.futures import Executor, Future

import pytest
from cohort_samples import run, save

import voxarray as vx
from voxarray.cli.cohort_run import run_and_report
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.run.build import ExecutionOptions, build


class Silent(Executor):
    """Converts so many images, of none of which it brings a result; then Ctrl-C comes."""

    def __init__(self, number):
        self.number = number

    def submit(self, function, *arguments):
        function(*arguments)
        self.number -= 1
        if not self.number:
            raise KeyboardInterrupt
        return Future()


def made(tmp_path, number, capsys):
    """Exit code and words of a command that was stopped after so many of three images."""
    for seed in range(3):
        save(tmp_path / f"in/{seed}.nii", seed)

    def work(watcher):
        options = ExecutionOptions(executor=Silent(number))
        return build(tmp_path / "in", tmp_path / "out", run=options, watcher=watcher)

    with pytest.raises(SystemExit) as caught:
        run_and_report(CohortLayout.of(tmp_path / "out"), work)
    return caught.value.code, "".join(capsys.readouterr())


def test_what_they_hold_is_counted(tmp_path, capsys):
    code, told = made(tmp_path, 2, capsys)
    assert code == 75
    assert "2 converted, 0 up to date, 0 failed, 1 remaining; 3.8 KiB of voxels" in told
    assert "run the same command again" in told


def test_nothing_is_to_be_run_again_if_nothing_remains(tmp_path, capsys):
    code, told = made(tmp_path, 3, capsys)
    assert code == 0
    assert "3 converted" in told
    assert "again" not in told
    assert len(vx.Cohort(tmp_path / "out")) == 3
    assert (
        json.loads(run("convert", tmp_path / "in", tmp_path / "out", "--json").stdout)["up_to_date"]
        == 3
    )


def test_a_failure_is_told_of_though_nothing_remains(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.nii").write_bytes(b"x" * 600)
    code, told = made(tmp_path, 3, capsys)
    assert code == 3
    assert "1 of 4 failed" in told
    assert "to resume" not in told
