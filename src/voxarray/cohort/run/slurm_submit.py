"""Submitting the script of a job array, and submitting unfinished parts again.

A task may be killed, cancelled, run out of memory or time, and leave no message. So the job that
makes the catalogue after all tasks finds the images that are missing, and resubmits those parts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from voxarray.cohort.catalogue.report_files import Missing
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan, by_size
from voxarray.cohort.run import slurm
from voxarray.core.errors import FormatError, MissingFileError, StateError
from voxarray.storage.small_files import make_folder, write_if_other

RESUBMISSIONS = 3
"""How often parts are submitted again; each time with twice the memory of the time before."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Numbers of jobs.

    Attributes:
        array: Of the array.
        last: Of the job after it, which makes the catalogue.
        parts: Those that were submitted; empty means all.
    """

    array: str
    last: str
    parts: tuple[int, ...] = ()

    def __str__(self) -> str:
        what = f" of parts {_listed(self.parts)}" if self.parts else ""
        return (
            f"submitted the job array {self.array}{what}, and after it the job {self.last}, which "
            f"resubmits unfinished parts and makes the catalogue; scancel {self.last} {self.array} "
            "stops both"
        )


def submit(text: str, destination: str) -> Submitted:
    """Submit a script, and a job that makes the catalogue after all of its jobs.

    The script is kept beside the logs, under a name that depends on its text.

    Raises:
        MissingFileError: If there is no ``sbatch`` here (``NO_SBATCH``).
        StateError: If it refuses (``NOT_SUBMITTED``).
    """
    program = _sbatch()
    folder = CohortLayout.of(destination)
    logs = folder.logs
    make_folder(logs)
    data = os.fsencode(text)
    file = os.path.join(logs, f"array-{hashlib.sha256(data).hexdigest()[:8]}.sh")
    write_if_other(file, data)
    array = _submitted([program, "--parsable", file])
    return Submitted(array, _conclusion([program], folder, file, array, attempt=1))


def resubmit(
    folder: CohortLayout, file: str, attempt: int, missing: Iterable[Missing]
) -> Submitted | None:
    """Submit the parts of a script again in which images are missing that did not fail permanently.

    Args:
        folder: Of the cohort.
        file: The script that was submitted.
        attempt: How often it was submitted, this time included.
        missing: Images of the plan that have no archive.

    Returns:
        The submitted jobs; None if there is nothing to do, or all attempts are used up.

    Raises:
        MissingFileError: If there is no such script, or no ``sbatch`` here.
        FormatError: If it is none of ours (``NOT_OUR_SCRIPT``).
        StateError: If ``sbatch`` refuses (``NOT_SUBMITTED``).
    """
    text = _read(file)
    jobs, megabytes = (int(number_text) for number_text in _requested(text, file))
    remaining = {
        image.slug for image in missing if image.failure is None or not image.failure.permanent
    }
    if not remaining or attempt > RESUBMISSIONS:
        return None
    order = by_size(Plan.read(folder.plan).items)
    parts = {
        number % jobs + 1
        for number, item in enumerate(order)
        if item.slug in remaining and item.failure is None
    }
    if not parts:
        return None
    chosen = tuple(sorted(parts))
    program, placement = _sbatch(), _place_of_this_job(text)
    array = [program, "--parsable", *placement, f"--array={','.join(map(str, chosen))}"]
    try:
        number = _submitted([*array, f"--mem={megabytes << attempt}M", file])
    except StateError:  # perhaps no node has so much memory
        number = _submitted([*array, file])
    return Submitted(
        number, _conclusion([program, *placement], folder, file, number, attempt + 1), chosen
    )


def _sbatch() -> str:
    program = shutil.which("sbatch")
    if program is None:
        raise MissingFileError(
            "there is no sbatch here: run this on a node that submits jobs, or leave --submit out "
            "and submit the script there",
            code="NO_SBATCH",
        )
    return program


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError as error:
        raise MissingFileError(
            f"there is no script {file} to submit again ({error.strerror}): give the script that "
            "--slurm printed",
            path=file,
        ) from error


def _requested(text: str, file: str) -> tuple[str, str]:
    """Jobs of the array and MiB of memory that a script of ours asks for."""
    jobs = re.search(r"^#SBATCH --array=1-([1-9]\d*)$", text, re.MULTILINE)
    memory = re.search(r"^#SBATCH --mem=(\d+)M$", text, re.MULTILINE)
    if jobs is None or memory is None:
        raise FormatError(
            f"{file} is not a script of voxarray: --array=1-N and --mem=NM were expected in it; "
            "give the script that --slurm printed",
            code="NOT_OUR_SCRIPT",
            path=file,
        )
    return jobs[1], memory[1]


def _conclusion(
    program: Sequence[str], folder: CohortLayout, file: str, array: str, attempt: int
) -> str:
    """Submit the job that makes the catalogue after an array, and resubmits missing parts.

    Returns:
        The number of that job.
    """
    script = os.path.abspath(file)
    logs = os.path.dirname(script)
    command = [*slurm.finalising(folder), "--resubmit", script, "--attempt", str(attempt)]
    return _submitted(
        [
            *program,
            "--parsable",
            f"--dependency=afterany:{array}",
            "--job-name=voxarray-finalise",
            f"--chdir={logs}",
            f"--output={slurm.pattern_of(logs)}/finalise_%j.log",
            "--open-mode=append",
            "--mem=4G",
            "--requeue",
            f"--wrap={shlex.join(command)}",
        ]
    )


def _place_of_this_job(text: str) -> list[str]:
    """Options for the account and partition of this job, for those that the script does not set."""
    names = {"account": "SLURM_JOB_ACCOUNT", "partition": "SLURM_JOB_PARTITION"}
    values = {option: os.environ.get(name, "") for option, name in names.items()}
    return [
        f"--{option}={value}"
        for option, value in values.items()
        if value not in ("", "(null)") and f"\n#SBATCH --{option}=" not in text
    ]


def _submitted(command: Sequence[str]) -> str:
    try:
        process = subprocess.run(  # noqa: S603  # a program on the user's own path, told by no other
            command,
            stdin=subprocess.DEVNULL,
            env=_without_this_job(os.environ),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise StateError(
            f"sbatch refused the script: {error.stderr.strip() or error.stdout.strip()}. Correct "
            "the options in the script, and submit it again",
            code="NOT_SUBMITTED",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StateError(
            f"sbatch did not answer: {error}; try again, or submit the script by hand",
            code="NOT_SUBMITTED",
        ) from error
    return process.stdout.strip().split(";")[
        0
    ]  # with a cluster's name behind it, where there are two


def _without_this_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables without those of this job, which the submitted jobs would inherit.

    For example, the memory limit of this job would apply to them.
    """
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("SLURM_", "SLURMD_")) or name == "SLURM_CONF"
    }


def _listed(numbers: Sequence[int], limit: int = 20) -> str:
    listed = ", ".join(map(str, numbers[:limit]))
    return f"{listed} and {len(numbers) - limit} more" if len(numbers) > limit else listed
