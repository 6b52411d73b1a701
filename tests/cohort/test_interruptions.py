"""Whatever interrupts a run: nothing partial is there, and the next run makes the same cohort."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cohort_samples import archives, make_cohort, report_codes, run, save, truth

from voxarray.archive.verify import verify
from voxarray.cohort.catalogue.journal import Journal, records
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.run.build import build
from voxarray.core import settings
from voxarray.core.errors import VoxarrayError

# Without waiting for the disk: what is tested here is the order of things, not the platters.
_RUN = """
import os, sys
os.fsync = lambda _: None
from voxarray.cli import main
main(sys.argv[1:])
"""


def start(*arguments: object, ignored: int | None = None) -> subprocess.Popen[bytes]:
    """The command line in a process, and processes of its own, that can be killed together."""
    code = f"import signal; signal.signal({ignored}, signal.SIG_IGN)\n" if ignored else ""
    command = [sys.executable, "-c", code + _RUN, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(*arguments: object) -> int:
    with start(*arguments) as process:
        process.communicate(timeout=200)
        return process.returncode


def check_whole(cohort: Path) -> None:
    """What can be seen is whole."""
    for path in CohortLayout.of(cohort).archives():
        assert verify(path) == []


def duration(*arguments: object) -> float:
    began = time.perf_counter()
    finish(*arguments)
    return time.perf_counter() - began


def kill_again_and_again(tmp_path: Path, kills: int, *options: object) -> None:
    source, whole, cohort = (tmp_path / name for name in ("in", "whole", "out"))
    make_cohort(source, 24, 4)
    build(source, whole)
    seconds = duration("convert", source, tmp_path / "timed", *options)
    moments = random.Random(7)
    converted = 0
    for number in range(kills):
        target = tmp_path / f"out-{number}" if number % 4 == 0 else cohort
        if number % 4 == 0:
            cohort = target
        with start("convert", source, cohort, *options) as process:
            time.sleep(moments.uniform(0.3 * seconds, seconds))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        check_whole(cohort)
        converted = max(converted, len(list(CohortLayout.of(cohort).archives())))
        if not converted:
            seconds *= 1.5  # the machine has become slower since it was timed
        if number % 4 == 3 or number == kills - 1:
            assert finish("convert", source, cohort, *options) == 3
            assert truth(cohort) == truth(whole)
            assert not (cohort / "staging").exists() or not list((cohort / "staging").iterdir())
    assert converted  # some kills came while images were converted


def test_a_killed_run_goes_on(tmp_path):
    kill_again_and_again(tmp_path, 4)


@pytest.mark.slow
def test_a_run_killed_a_hundred_times(tmp_path):
    kill_again_and_again(tmp_path, 100)


@pytest.mark.slow
def test_a_run_with_workers_killed_twenty_times(tmp_path):
    kill_again_and_again(tmp_path, 20, "--workers", 2)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGXCPU,
        *(
            pytest.param(number, marks=pytest.mark.slow)
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        ),
    ],
)
def test_a_terminated_run_drops_its_image_and_writes_the_catalogue(tmp_path, number):
    source, cohort = tmp_path / "in", tmp_path / "out"
    for seed in range(40):
        save(source / f"{seed}.nii.gz", seed)
    with start("convert", source, cohort) as process:
        # More than are made at once: then one of them was counted, before another was begun.
        while len(list(CohortLayout.of(cohort).archives())) < 2 + settings.threads() // 2:
            time.sleep(0.01)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert b"asked to end" in told
    assert (cohort / "catalogue.parquet").exists()
    assert not (cohort / "staging").exists()
    check_whole(cohort)
    done = len(archives(cohort))
    assert 0 < done < 40
    made = build(source, cohort)
    assert (made.present, made.converted) == (done, 40 - done)


def test_a_terminated_run_is_to_be_run_again_though_an_image_failed(tmp_path):
    """Workflows take 3 for done; what a stopped run has left would never be converted."""
    source, cohort = tmp_path / "in", tmp_path / "out"
    for seed in range(40):
        save(source / f"{seed}.nii.gz", seed)
    (source / "bad.nii.gz").write_bytes(b"nonsense")
    with start("convert", source, cohort) as process:
        while len(list(CohortLayout.of(cohort).archives())) < 2 + settings.threads() // 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert b"asked to end" in told
    assert len(archives(cohort)) < 40
    assert process.returncode == 75, told


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (signal.SIGTERM, "a.ome.zarr"),
        (signal.SIGINT, "a.ozx"),
        pytest.param(signal.SIGHUP, "a.ome.zarr", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "a.ozx", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "a.ozx", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "a.ome.zarr", marks=pytest.mark.slow),
    ],
)
def test_one_image_that_is_asked_to_end_leaves_nothing(tmp_path, number, form):
    scan = save(tmp_path / "scan.nii.gz", 1, (200, 200, 200))
    with start("convert", scan, tmp_path / "new/folder" / form) as process:
        while not list(tmp_path.glob("new/folder/.*.staging/archive/scale0")):
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 75, told
    assert b"run the same command again" in told
    assert os.listdir(tmp_path) == ["scan.nii.gz"]


_HANDLED = """
import faulthandler, os, signal, sys
from voxarray.cohort.run.interrupts import Stopped, stoppable
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
faulthandler.register(signal.SIGUSR2, file=open(os.devnull, "w"))
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
with stoppable():
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
        os.kill(os.getpid(), number)
os.kill(os.getpid(), signal.SIGUSR2)
assert heard == [1]
signal.signal(signal.SIGXCPU, signal.SIG_DFL)
try:
    with stoppable():
        os.kill(os.getpid(), signal.SIGXCPU)
except Stopped:
    os.kill(os.getpid(), signal.SIGXCPU)  # as the system does again and again
    sys.exit(17)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs handlers to be listed")
def test_handlers_of_the_users_process_stay():
    done = subprocess.run([sys.executable, "-c", _HANDLED], capture_output=True, timeout=100)
    assert done.returncode == 17, done.stderr


_TWICE = """
import os, signal, sys
from voxarray.cohort.run.interrupts import Stopped, stoppable
first, second = map(int, sys.argv[1:])
done = []
with stoppable():  # as a command does
    try:
        with stoppable():  # as the run in it does
            try:
                os.kill(os.getpid(), first)
            finally:
                os.kill(os.getpid(), second)
                done.append("cleaned up")
    except Stopped:
        os.kill(os.getpid(), second)
        done.append("catalogue")
assert done == ["cleaned up", "catalogue"], done
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
try:
    with stoppable():
        os.kill(os.getpid(), first)
except Stopped:
    sys.exit(17)
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGUSR1, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGUSR2),
    ],
)
def test_a_second_signal_does_not_interrupt_what_the_first_one_began(first, second):
    """Job systems send a warning first, and SIGTERM later, while the catalogue is written."""
    command = [sys.executable, "-c", _TWICE, str(int(first)), str(int(second))]
    done = subprocess.run(command, capture_output=True, timeout=100)
    assert done.returncode == 17, done.stderr


def test_what_nohup_ignores_is_ignored(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "out"
    for seed in range(8):
        save(source / f"{seed}.nii.gz", seed)
    with start("convert", source, cohort, ignored=signal.SIGHUP) as process:
        while not list(CohortLayout.of(cohort).archives()):
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert len(archives(cohort)) == 8


# --- Several at once ------------------------------------------------------------------------------


def check_writers(tmp_path: Path, processes: int, scans: int) -> None:
    source, whole, cohort = (tmp_path / name for name in ("in", "whole", "out"))
    if not source.exists():
        for number in range(scans):
            save(source / f"{number}.nii.gz", number)
        build(source, whole)
    running = [start("convert", source, cohort) for _ in range(processes)]
    for process in running:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
    assert truth(cohort) == truth(whole)
    done = [record["slug"] for record in records(str(cohort / "journal"))]
    assert len(set(done)) == scans


def test_two_runs_at_once_agree(tmp_path):
    check_writers(tmp_path, processes=2, scans=12)


@pytest.mark.slow
def test_eight_writers_twenty_rounds(tmp_path):
    import shutil

    for _ in range(20):
        check_writers(tmp_path, processes=8, scans=40)
        shutil.rmtree(tmp_path / "out")


# --- A disk that refuses --------------------------------------------------------------------------


class FailingDisk:
    """Lets every write from the k-th on fail: of ``os.write``, and of files of Python."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.number, self.calls, self.failing_from = number, 0, sys.maxsize
        self.lock = threading.Lock()
        self.write, self.open = os.write, open
        monkeypatch.setattr(os, "write", self._write)
        monkeypatch.setattr("builtins.open", self._open)

    def _count(self) -> None:
        with self.lock:
            self.calls += 1
            if self.calls > self.failing_from:
                raise OSError(self.number, os.strerror(self.number))

    def _write(self, fd: int, data: bytes) -> int:
        self._count()
        return self.write(fd, data)

    def _open(self, file, mode="r", *arguments, **options):
        if "x" in mode or "w" in mode:
            self._count()
        return self.open(file, mode, *arguments, **options)


def check_disk(tmp_path, monkeypatch, number: int, step: int) -> None:
    source = tmp_path / "in"
    for scan in range(2):
        save(source / f"{scan}.nii.gz", scan)
    build(source, tmp_path / "whole")
    disk = FailingDisk(monkeypatch, number)
    build(source, tmp_path / "counted")
    total, code = disk.calls, "IO_ERROR" if number == errno.EIO else "NO_SPACE"
    assert total > 20
    for call in range(0, total, step):
        cohort = tmp_path / f"out-{call}"
        disk.calls, disk.failing_from = 0, call
        told = []
        try:
            made = build(source, cohort)
            told = [made.interrupted_by, *(one.code for one in made.summary.failed if made.summary)]
        except VoxarrayError as error:
            told = [error.code]
        disk.failing_from = sys.maxsize
        assert any(code in text for text in told), (call, told)
        check_whole(cohort)
        Journal.of(str(cohort / "journal")).close()
        assert build(source, cohort).failed == 0  # goes on when there is room again
        assert truth(cohort) == truth(tmp_path / "whole")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_refuses_is_named(tmp_path, monkeypatch, number):
    check_disk(tmp_path, monkeypatch, number, step=9)


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_refuses_any_write_is_named(tmp_path, monkeypatch, number):
    check_disk(tmp_path, monkeypatch, number, step=1)


# --- Damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plan.json", "catalogue.parquet"])
def test_damaged_tables_are_found_out(tmp_path, name):
    from voxarray.cohort import Cohort

    for scan in range(3):
        save(tmp_path / f"in/{scan}.nii.gz", scan)
    build(tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / name
    good = path.read_bytes()
    flips = random.Random(3)
    silent = 0
    for _ in range(60):
        bad = bytearray(good)
        bad[flips.randrange(len(bad))] ^= 1 << flips.randrange(8)
        path.write_bytes(bad)
        try:
            if name == "plan.json":
                run_plan(tmp_path / "out")
            else:
                Cohort(tmp_path / "out")
            silent += 1
        except VoxarrayError:
            pass
    assert silent == 0
    path.write_bytes(good)


def run_plan(cohort: Path) -> None:
    from voxarray.cohort.plan.plan import Plan

    Plan.read(str(cohort / "plan.json"))


def test_who_outlives_a_cohort_writes_into_the_next(tmp_path):
    import shutil

    journal = Journal.of(str(tmp_path / "out/journal"))
    for number in range(2):
        journal.append({"slug": str(number), "status": "failed"})
        assert [one["slug"] for one in records(str(tmp_path / "out/journal"))] == [str(number)]
        shutil.rmtree(tmp_path / "out")
    journal.close()


def test_a_torn_line_of_a_journal_is_left_out(tmp_path):
    save(tmp_path / "in/a.nii")
    build(tmp_path / "in", tmp_path / "out")
    (journal,) = (tmp_path / "out/journal").iterdir()
    journal.write_bytes(journal.read_bytes() + b'{"slug": "x", "sta')
    assert len(list(records(str(tmp_path / "out/journal")))) == 1
    assert run("finalise", tmp_path / "out").exit_code == 0
    assert report_codes(tmp_path / "out") == {}
