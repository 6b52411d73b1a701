"""Who asks a run in Python to end is obeyed: the script ends, once what was done is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cohort_samples import save, truth

import voxarray as vx
from voxarray.cohort import export
from voxarray.cohort.run import build
from voxarray.cohort.run.in_process import InProcess
from voxarray.storage.spare_folders import SpareFolders

SIGNALS = [signal.SIGINT, signal.SIGTERM]
SCANS = 6


class Ended:
    """A progress function that sends a signal to this process when so many bytes are done."""

    def __init__(self, number, share):
        self.number, self.share, self.sent = number, share, False

    def __call__(self, done, total):
        if not self.sent and done and done >= self.share * total:
            self.sent = True
            os.kill(os.getpid(), self.number)


def bright(patch):
    import torch

    return torch.cat([-patch, patch], 1)


@pytest.fixture
def scans(tmp_path):
    for seed in range(SCANS):
        save(tmp_path / f"in/{seed}.nii.gz", seed)
    return tmp_path / "in"


@pytest.fixture
def cohort(scans, tmp_path):
    vx.convert_cohort(scans, tmp_path / "made", progress=False)
    return vx.Cohort(tmp_path / "made")


def check_goes_on(number, call, share=0.1):
    """A call is ended by a signal, and says how to go on."""
    before = signal.getsignal(number)
    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as caught:
        call(Ended(number, share))
    assert signal.getsignal(number) is before
    if number != signal.SIGINT:
        assert caught.value.code == 75
    assert not isinstance(caught.value, vx.VoxarrayError)
    return str(caught.value)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_conversion_that_is_asked_to_end_does_so(scans, tmp_path, number, capsys):
    def convert(progress):
        return vx.convert_cohort(scans, tmp_path / "out", progress=progress)

    told = check_goes_on(number, convert)
    done = len(vx.Cohort(tmp_path / "out"))
    assert 0 < done < SCANS
    remaining = SCANS - done
    assert f"{done} of {SCANS} images are there" in told
    assert "1 remains" in told if remaining == 1 else f"{remaining} remain" in told
    assert "the same call again" in told
    # Python itself says nothing of a SystemExit.
    assert (told in capsys.readouterr().err) == (number != signal.SIGINT)
    assert (tmp_path / "out/report.txt").exists()
    assert str(tmp_path) not in told
    made = convert(False)
    assert (made.present, made.converted, made.interrupt) == (done, SCANS - done, None)
    vx.convert_cohort(scans, tmp_path / "whole", progress=False)
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("kind", ["save", "map", "files"])
def test_a_cohort_that_is_saved_is_asked_to_end(cohort, tmp_path, number, kind):
    def write(progress):
        if kind == "map":
            return cohort.map(vx.Clamp(0, 100)).save(tmp_path / "out", progress=progress)
        suffix = ".nii.gz" if kind == "files" else None
        return cohort.save(tmp_path / "out", suffix=suffix, progress=progress)

    assert "remain" in check_goes_on(number, write)
    if kind == "files":
        assert 0 < len(list((tmp_path / "out").glob("*/*.nii.gz"))) < SCANS
    else:
        assert 0 < len(vx.Cohort(tmp_path / "out")) < SCANS
    write(False)


@pytest.mark.parametrize("number", SIGNALS)
def test_predictions_that_are_asked_to_end(cohort, tmp_path, number):
    pytest.importorskip("torch")

    def predict(progress):
        return vx.infer(bright, cohort, tmp_path / "out", patch_size=8, progress=progress)

    assert "remain" in check_goes_on(number, predict)
    assert 0 < len(vx.Cohort(tmp_path / "out")) < SCANS
    assert len(predict(False)) == SCANS


@pytest.mark.parametrize("number", SIGNALS)
def test_layers_that_are_asked_to_end(cohort, number):
    pytest.importorskip("torch")
    seen = []

    def ending(subject):
        seen.append(subject)
        if len(seen) == 3:
            os.kill(os.getpid(), number)
        return subject

    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as caught:
        vx.infer(bright, cohort, patch_size=8, preprocess=ending, progress=False)
    assert sum("prediction" in names for names in vx.Cohort(cohort.path).table["labels"]) == 2
    if number != signal.SIGINT:
        assert caught.value.code == 75
        assert "2 of 6 subjects" in str(caught.value)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_was_just_done_is_ended_too(scans, tmp_path, number):
    """Whoever asked wants the script to end, and not only this call."""
    told = check_goes_on(
        number,
        lambda progress: vx.convert_cohort(scans, tmp_path / "out", progress=progress),
        share=1,
    )
    assert "was asked to end when it had finished" in told
    assert "again" not in told
    assert len(vx.Cohort(tmp_path / "out")) == SCANS


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_within_a_run_ends_both(cohort, scans, tmp_path, number):
    seen = []

    def converting(subject):
        seen.append(subject)
        if len(seen) == SCANS + 3:  # each was planned before
            vx.convert_cohort(scans, tmp_path / "inner", progress=Ended(number, 0.1))
        return subject

    told = check_goes_on(
        number, lambda _: cohort.map(converting).save(tmp_path / "out", progress=False)
    )
    assert "remain" in told
    for name in ("inner", "out"):
        assert 0 < len(vx.Cohort(tmp_path / name)) < SCANS


def test_a_run_in_a_thread_hears_no_signals(scans, tmp_path):
    made = []
    thread = threading.Thread(
        target=lambda: made.append(vx.convert_cohort(scans, tmp_path / "out", progress=False))
    )
    thread.start()
    thread.join(60)
    assert made[0].converted == SCANS


_SCRIPT = """
import os, signal, sys
import voxarray as vx
source, cohort, workers, number = sys.argv[1:]
sent = []
def report(done, total):
    if done and not sent:
        sent.append(number)
        os.killpg(os.getpgid(0), int(number))
if __name__ == "__main__":
    try:
        vx.convert_cohort(source, cohort, workers=int(workers), progress=report)
    except (vx.VoxarrayError, Exception):
        pass
    print("went on")
"""


@pytest.mark.parametrize(("workers", "number"), [(0, signal.SIGTERM), (2, signal.SIGINT)])
def test_a_script_does_not_go_on(tmp_path, workers, number):
    """The signal reaches the workers too, as that of a terminal or of a job system does."""
    for seed in range(30):
        save(tmp_path / f"in/{seed}.nii.gz", seed)
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    words = [tmp_path / "in", tmp_path / "out", workers, int(number)]
    done = subprocess.run(
        [sys.executable, script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        start_new_session=True,
    )
    assert "went on" not in done.stdout
    assert "of 30 images are there" in done.stderr, done.stderr
    assert done.returncode == (75 if number == signal.SIGTERM else -signal.SIGINT)
    assert len(vx.Cohort(tmp_path / "out")) > 0


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("later", SIGNALS)
def test_later_signals_do_not_disturb_the_catalogue(scans, tmp_path, monkeypatch, number, later):
    conclude = build.conclude

    def disturbed(*given):
        os.kill(os.getpid(), later)
        return conclude(*given)

    # If it is not ignored, this process shall not be ended by it.
    heard = []
    monkeypatch.setattr(build, "conclude", disturbed)
    before = signal.getsignal(later)
    if later == signal.SIGTERM:
        signal.signal(later, lambda *_: heard.append(later))
    own = signal.getsignal(later)
    try:
        check_goes_on(
            number, lambda told: vx.convert_cohort(scans, tmp_path / "out", progress=told)
        )
        assert signal.getsignal(later) is own
    finally:
        signal.signal(later, before)
    assert heard == []
    assert (tmp_path / "out/report.txt").exists()


def test_an_earlier_interrupt_is_over(scans, tmp_path, monkeypatch):
    """A script may convert because of an interrupt, and an error is not taken for that."""

    def refuse(*_):
        raise vx.TransportError("no workers", code="NO_WORKERS")
        yield

    monkeypatch.setattr(InProcess, "run", refuse)
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        with pytest.raises(vx.TransportError, match="no workers"):
            vx.convert_cohort(scans, tmp_path / "out", progress=False)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_catalogue_that_cannot_be_written_hides_no_interrupt(
    scans, tmp_path, monkeypatch, number
):
    def refuse(*_):
        raise vx.ArchiveError("no space is left", code="NO_SPACE")

    monkeypatch.setattr(build, "conclude", refuse)
    told = check_goes_on(
        number, lambda told: vx.convert_cohort(scans, tmp_path / "out", progress=told)
    )
    assert "the run was asked to end before it was done" in told
    assert "no space is left" in told


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("owner", "step"),
    [(SpareFolders, "remove"), (build, "note_unheard"), (build, "note_overtaken")],
)
def test_a_failure_before_or_after_the_catalogue_hides_no_interrupt(
    scans, tmp_path, monkeypatch, number, owner, step
):
    def refuse(*_):
        raise OSError(f"{step} failed")

    monkeypatch.setattr(owner, step, refuse)
    told = check_goes_on(
        number, lambda told: vx.convert_cohort(scans, tmp_path / "out", progress=told)
    )
    assert "the run was asked to end before it was done" in told
    assert f"{step} failed" in told


@pytest.mark.parametrize("number", SIGNALS)
def test_a_warning_about_files_hides_no_interrupt(cohort, tmp_path, monkeypatch, number):
    def warn(*_):
        raise vx.VoxarrayWarning("LEFT_OVER: of another run")

    monkeypatch.setattr(export, "warn_of_left_over", warn)
    told = check_goes_on(
        number, lambda told: cohort.save(tmp_path / "out", suffix=".nii.gz", progress=told)
    )
    assert "the run was asked to end before it was done" in told
    assert "LEFT_OVER" in told


@pytest.mark.parametrize("number", SIGNALS)
def test_a_warning_as_an_error_hides_no_interrupt(scans, tmp_path, monkeypatch, number):
    def warn(_):
        raise vx.VoxarrayWarning("FLOAT_LABELS: of floats")

    monkeypatch.setattr(build.LeftLabels, "warn", warn)
    told = check_goes_on(
        number, lambda told: vx.convert_cohort(scans, tmp_path / "out", progress=told)
    )
    assert "the run was asked to end before it was done" in told
    assert "FLOAT_LABELS" in told


@pytest.mark.parametrize("number", SIGNALS)
def test_a_catalogue_that_cannot_be_read_hides_no_interrupt(cohort, number):
    """Layers are told to the catalogue, and counted in it, when somebody has asked to end."""
    pytest.importorskip("torch")
    catalogue = Path(cohort.path) / "catalogue.parquet"
    assert catalogue.exists()
    seen = []

    def ending(subject):
        seen.append(subject)
        if len(seen) == 3:
            catalogue.write_bytes(b"damaged")
            os.kill(os.getpid(), number)
        return subject

    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as caught:
        vx.infer(bright, cohort, patch_size=8, preprocess=ending, progress=False)
    assert isinstance(caught.value.__cause__, vx.VoxarrayError)
    if number != signal.SIGINT:
        assert "the run was asked to end" in str(caught.value)
        assert str(caught.value.__cause__) in str(caught.value)
