"""Job arrays on a real SLURM, whatever happens to their tasks: what a serial run makes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path

import psutil
import pytest
from cohort_samples import SUFFIXES, save, truth
from one_node import OneNode

import voxarray as vx
from voxarray.cohort.run.build import build

VOXARRAY = [sys.executable, "-m", "voxarray"]
SCANS = int(os.environ.get("VOXARRAY_SLURM_SCANS", 200))
TASKS = 10


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for number in range(SCANS):
        save(folder / f"site {number % 3}/{number:03}{SUFFIXES[number % 5]}", number, (20, 16, 12))
    return folder


@pytest.fixture(scope="module")
def serial(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("serial")
    assert build(scans, folder).converted == SCANS
    return folder


def processes_of(task: str) -> list[psutil.Process]:
    """Of ours in a task of an array that runs now, such as ``"7_3"``."""
    array, number = task.split("_")
    mine = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": number}
    found = []
    for process in psutil.process_iter():
        try:
            if "voxarray" in process.cmdline() and mine.items() <= process.environ().items():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def send(slurm: OneNode, task: str, number: int) -> None:
    """A signal to the process of a task, once it runs."""
    # A task lasts less than a second.
    slurm.wait_for(lambda: processes_of(task), 120, f"{task} does not run", every=0.02)
    processes_of(task)[0].send_signal(number)


class Paused:
    """No job starts inside."""

    def __init__(self, slurm: OneNode) -> None:
        self._slurm = slurm

    def __enter__(self) -> None:
        self._slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")

    def __exit__(self, *_: object) -> None:
        self._slurm.run("scontrol", "update", "PartitionName=main", "State=UP")


def submit(slurm: OneNode, *command: object, **more: str) -> str:
    """Number of the array that a command submits with --submit, from a folder that is not its."""
    text = slurm.run(
        *(*VOXARRAY, *map(str, command), "--slurm", str(TASKS), "--submit"),
        cwd="/",
        env=slurm.environment | more,
    )
    return text.split("submitted the job array ")[1].split()[0].rstrip(",")


def logs(cohort: Path) -> str:
    return "\n".join(file.read_text() for file in sorted((cohort / "logs").glob("*.log")))


def test_how_memory_is_enforced(slurm, tmp_path):
    """As the page on clusters says it: by the kernel, or by a daemon that looks now and then."""
    code = "x = bytearray(400 << 20); import time; time.sleep(15); print('unseen')"
    log = tmp_path / "log"
    number = slurm.run(
        *("sbatch", "--parsable", "--mem=100M", f"--output={log}"),
        f'--wrap={sys.executable} -c "{code}"; echo the script goes on',
    ).strip()
    slurm.wait_until_empty(60)
    assert slurm.states()[number] == ("OUT_OF_MEMORY" if slurm.groups else "FAILED")
    told = log.read_text()
    assert "unseen" not in told
    assert slurm.groups or "exceeded memory limit" in told
    assert ("the script goes on" in told) == bool(slurm.groups)


def spoil(slurm: OneNode, array: str) -> None:
    """Let some tasks of an array that has not begun end badly: 2 to 5, each in its own way."""
    slurm.run("scontrol", "update", f"JobId={array}_2", "MinMemoryNode=25")
    for task in (3, 4):
        slurm.run("scontrol", "update", f"JobId={array}_{task}", "TimeLimit=1")
    slurm.run("scancel", f"{array}_5")


def see_it_through(slurm: OneNode, array: str) -> None:
    """Kill the first task, let the fourth hang, and wait until SLURM has seen to all of them."""
    send(slurm, f"{array}_1", signal.SIGKILL)
    send(slurm, f"{array}_4", signal.SIGSTOP)
    short = f"{array}_3"
    slurm.wait_for(lambda: slurm.queued().get(short) != "RUNNING", 120, "no requeue")
    slurm.run("scontrol", "update", f"JobId={short}", "TimeLimit=10", check=False)
    slurm.wait_until_empty(600)
    states = slurm.states()
    print({name: state for name, state in states.items() if name.startswith(array)})
    assert states[f"{array}_1"] == "FAILED"
    # Who polls may come too late, and then voxarray itself refuses what exceeds its budget.
    assert states[f"{array}_2"] in ("OUT_OF_MEMORY", *(() if slurm.groups else ("FAILED",)))
    assert states[f"{array}_4"] == "TIMEOUT"


def test_killed_cancelled_out_of_memory_and_out_of_time(slurm, scans, serial, tmp_path):
    cohort = tmp_path / "my cohort"
    with Paused(slurm):
        array = submit(slurm, "plan", scans, cohort, SBATCH_EXPORT="NONE")
        spoil(slurm, array)
    see_it_through(slurm, array)
    print(logs(cohort))
    assert truth(cohort) == truth(serial)


def test_a_script_that_is_submitted_twice_at_once(slurm, scans, serial, tmp_path):
    cohort = tmp_path / "it's 100% mine"
    text = slurm.run(*VOXARRAY, "plan", str(scans), str(cohort), "--slurm", "3")
    script = tmp_path / "job.sh"
    script.write_text(text)
    finalise = shlex.join([*VOXARRAY, "finalise", str(cohort)])
    with Paused(slurm):
        for folder in ("/", "/tmp"):
            array = slurm.run("sbatch", "--parsable", str(script), cwd=folder).strip()
            after = [f"--dependency=afterany:{array}", "--mem=1G", f"--wrap={finalise}"]
            slurm.run("sbatch", "--output=/dev/null", *after, cwd=folder)
    slurm.wait_until_empty(300)
    assert set(slurm.states().values()) >= {"COMPLETED"}
    assert truth(cohort) == truth(serial), logs(cohort)


def test_a_pipeline_whose_tasks_end_in_all_ways(slurm, serial, tmp_path):
    """Preprocessing, submitted twice at once, and one array of the two spoilt as above."""
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text(
        "- operation: ToCanonical\n"
        "- operation: Resample\n  arguments: {target: 1.5}\n"
        "- operation: ZNormalization\n"
    )
    transform = vx.Compose([vx.ToCanonical(), vx.Resample(1.5), vx.ZNormalization()])
    vx.Cohort(serial).map(transform).save(tmp_path / "serial")
    cohort = tmp_path / "my cohort"
    with Paused(slurm):
        array, _ = (
            submit(
                *(slurm, "preprocess", serial, cohort, "--pipeline", pipeline),
                SBATCH_EXPORT="NONE",
            )
            for _ in range(2)
        )
        spoil(slurm, array)
    see_it_through(slurm, array)
    assert truth(cohort) == truth(tmp_path / "serial"), logs(cohort)
