"""SIGKILL of one worker, of the scheduler, of the whole run on a scheduler, at random moments.

What can be read is whole at any time, at most the images in flight are made again, and in the end
the cohort is that of a run that nobody broke off.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import Cluster, kill, workers_of
from cohort_samples import save, truth
from test_interruptions import start

from voxarray.archive.verify import verify
from voxarray.cohort.catalogue.journal import BEGUN, lines
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.build import build

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]
WORKERS = 2
DIVIDE = "100 KiB"
AT_ONCE = 4
"""Images that a worker may have under way; fewer with fewer threads."""


@dataclass(frozen=True, slots=True)
class Work:
    """A cohort to be made again and again.

    Attributes:
        source: Folder of the scans.
        whole: The cohort of a run that nobody broke off.
        cohort: Where it is made.
        options: For the command line.
        divided: Whether one of the scans is divided among the workers.
    """

    source: Path
    whole: Path
    cohort: Path
    options: tuple[object, ...]
    divided: bool

    @property
    def images(self) -> int:
        return len(list(CohortLayout.of(self.whole).archives()))

    def command(self, *options: object) -> subprocess.Popen[bytes]:
        return start("convert", self.source, self.cohort, *self.options, *options)

    def readable(self) -> dict[str, tuple[int, int]]:
        """What can be read, and that it is whole; by name, which file it is and from when."""
        found = {}
        for archive in CohortLayout.of(self.cohort).archives():
            assert verify(archive) == [], archive
            status = os.stat(archive)
            found[os.path.basename(archive)] = (status.st_ino, status.st_mtime_ns)
        return found

    def journal(self, status: str) -> list[str]:
        """Names of images, once per time that one came to this."""
        noted = lines(str(self.cohort / "journal"))
        return [one["slug"] for one in noted if one["status"] == status]

    def check_redone(self) -> None:
        """What was begun again was under way in a process that never ended it; few were at once."""
        begun, unfinished = Counter[str](), set[str]()
        for journal in (self.cohort / "journal").iterdir():
            noted = [json.loads(line) for line in journal.read_bytes().splitlines()]
            names = [one["slug"] for one in noted if one["status"] == BEGUN]
            left = set(names) - {one["slug"] for one in noted if one["status"] != BEGUN}
            assert len(left) <= AT_ONCE
            unfinished |= left
            begun.update(names)
        assert {slug for slug, times in begun.items() if times > 1} <= unfinished
        # Of one round, in which nobody dies twice.
        assert begun.total() - self.images <= WORKERS * AT_ONCE

    def under_way(self) -> bool:
        """Whether images, or the one that is divided, are being made."""
        name = "staging/.0-large*" if self.divided else "subjects/*.ome.zarr"
        return any(self.cohort.glob(name))

    def check_end(self, kept: dict[str, tuple[int, int]]) -> None:
        """As after an unbroken run; what was there is what it was, and little was made twice."""
        assert truth(self.cohort) == truth(self.whole)
        assert kept.items() <= self.readable().items()
        assert not (self.cohort / "staging").exists()
        self.check_redone()
        journal = self.journal("converted")
        assert len(journal) == len(set(journal))
        assert not self.journal("failed")

    def check_nothing_left(self) -> None:
        """The same command again has nothing to do."""
        options = ArchiveOptions(chunk=8) if self.options else ArchiveOptions()
        made = build(self.source, self.cohort, options=options)
        assert (made.present, made.converted, made.failed) == (self.images, 0, 0)
        assert not (self.cohort / "staging").exists()


@pytest.fixture(params=[False, True], ids=["small", "divided"])
def work(request, tmp_path, monkeypatch):
    source, whole, cohort = (tmp_path / name for name in ("in", "whole", "out"))
    number = 12 if request.param else 40
    for scan in range(number):
        save(source / f"{scan}.nii.gz", scan)
    options: tuple[object, ...] = ()
    if request.param:
        # Large enough for the others to be done before it, so that it is divided.
        save(source / "0-large.nii", 1, (64, 64, 400))
        monkeypatch.setenv("DASK_VOXARRAY__SPLIT_FROM", DIVIDE)
        options = ("--chunk", 8)
    build(source, whole, options=ArchiveOptions(chunk=8) if options else ArchiveOptions())
    return Work(source, whole, cohort, options, request.param)


def rounds(work: Work, small: int, divided: int) -> Iterator[int]:
    """Numbers of rounds, each with an empty destination."""
    for number in range(divided if work.divided else small):
        shutil.rmtree(work.cohort, ignore_errors=True)
        yield number


def wait_until(what: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Until something is so, or the process has ended."""
    deadline = time.monotonic() + 60
    while not what() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def sleep(work: Work, process: subprocess.Popen[bytes], moments: random.Random, early: bool):
    """Until a random moment of the time in which images are made, or of that until they are."""
    if early:
        time.sleep(moments.uniform(0, 1.5))
    else:
        wait_until(work.under_way, process)
        time.sleep(moments.uniform(0, 0.25 if work.divided else 0.5))


@contextmanager
def cluster(folder: Path, number: int) -> Iterator[Cluster]:
    started = Cluster(folder / f"scheduler-{number}.json", WORKERS)
    try:
        yield started
    finally:
        started.stop()


def test_a_worker_of_the_run_is_killed(work):
    moments, kills = random.Random(1), 0
    for number in rounds(work, 24, 6):
        with work.command("--workers", WORKERS) as process:
            wait_until(lambda: len(workers_of(process.pid)) == WORKERS, process)
            workers = workers_of(process.pid)
            sleep(work, process, moments, early=number % 4 == 1)
            kills += kill(workers[number % WORKERS])
            kept = work.readable()
            _, told = process.communicate(timeout=200)
        if b"NO_WORKERS" in told:  # it was killed before it had joined
            assert process.returncode == 1
            with work.command("--workers", WORKERS) as process:
                _, told = process.communicate(timeout=200)
        assert process.returncode == 0, (number, told)
        work.check_end(kept)
        work.check_nothing_left()
    assert kills > number // 2


def test_a_worker_of_a_scheduler_is_killed(work, tmp_path):
    moments, killed = random.Random(2), set()
    with cluster(tmp_path, 0) as running:
        for number in rounds(work, 12, 6):
            # A nanny starts another in its place, so that they are hit in turn.
            workers = running.wait(WORKERS)
            with work.command("--scheduler", running.address) as process:
                sleep(work, process, moments, early=number % 4 == 1)
                assert kill(workers[0])
                killed.add(workers[0])
                kept = work.readable()
                _, told = process.communicate(timeout=200)
            assert process.returncode == 0, (number, told)
            work.check_end(kept)
            work.check_nothing_left()
    assert len(killed) == number + 1


def test_the_scheduler_is_killed(work, tmp_path):
    moments, kept, told_so = random.Random(3), {}, 0
    for number in range(8 if work.divided else 28):
        with cluster(tmp_path, number) as running:
            running.wait(WORKERS)
            if number:  # what the last one left, with the workers of this one
                with work.command("--scheduler", running.address) as process:
                    _, told = process.communicate(timeout=200)
                assert process.returncode == 0, (number, told)
                work.check_end(kept)
                work.check_nothing_left()
                shutil.rmtree(work.cohort)
            with work.command("--scheduler", running.address) as process:
                sleep(work, process, moments, early=number % 4 == 1)
                assert kill(running.scheduler.pid)
                kept = work.readable()
                _, told = process.communicate(timeout=200)
            assert process.returncode in (0, 1, 3), (number, told)
            named = b"SCHEDULER_LOST" in told or b"NO_SCHEDULER" in told
            assert named or process.returncode == 0, (number, told)
            told_so += named
            running.workers.wait(60)  # they end by themselves, after what they are at
    assert told_so > number // 2


def test_the_run_on_a_scheduler_is_killed(work, tmp_path):
    moments = random.Random(4)
    with cluster(tmp_path, 0) as running:
        running.wait(WORKERS)
        for number in rounds(work, 20, 6):
            with work.command("--scheduler", running.address) as process:
                sleep(work, process, moments, early=number % 4 == 1)
                process.kill()
                kept = work.readable()
            with work.command("--scheduler", running.address) as process:
                _, told = process.communicate(timeout=200)
            assert process.returncode == 0, (number, told)
            work.check_end(kept)
            work.check_nothing_left()
