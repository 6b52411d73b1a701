"""The script of a SLURM job array: parts of a plan, with no scheduler of ours alive."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan, by_size
from voxarray.core.errors import MissingFileError, StateError
from voxarray.storage.remote.address import is_url

_MOST = 1000
"""Jobs in an array where nobody says otherwise: what centres advise."""

_BASE_BYTES = 512 << 20
"""The interpreter, its libraries, and what the page cache is charged for."""

_BYTES_A_SECOND = 10 << 20
"""Of voxels, by one core of a slow node from a busy disk: a tenth of what is usual."""

_SECONDS_AN_IMAGE = 2
_LEAST_MINUTES = 10

_SCRIPT = """\
#!/bin/bash
# {images} images in {jobs} jobs. Parts may run in any order, at once, and again: what is done
# stays done. Then make the catalogue, which also names what is missing:
#   array=$(sbatch --parsable THIS_SCRIPT)
#   sbatch --dependency=afterany:$array --wrap={finalise}
# or let voxarray plan --slurm {jobs} --submit do both.
#SBATCH --job-name=voxarray
#SBATCH --array=1-{jobs}
#SBATCH --cpus-per-task={cores}
#SBATCH --mem={megabytes}M
#SBATCH --time={time}
#SBATCH --chdir={folder}
#SBATCH --output={log}
#SBATCH --requeue
# Two minutes before the time is over this shell gets SIGTERM, and passes it on.
#SBATCH --signal=B:TERM@120
# Take one # away where your centre asks for these:
##SBATCH --account=ACCOUNT
##SBATCH --partition=PARTITION
set -u
export MALLOC_ARENA_MAX=2
{convert} --partition "auto/{jobs}" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do  # a signal ends wait, not the conversion
  wait "$child"
  code=$?
done
# 75: it was stopped, and what is done is good. So it is queued again, unless that has not helped.
if [ "$code" -eq 75 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
  scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"""

_RESTARTS = 10


def script(
    plan: Plan,
    sources: Sequence[str],
    destination: str,
    jobs: int,
    *,
    arguments: Sequence[str] = (),
    cores: int = 2,
) -> str:
    """A script for ``sbatch`` that converts a plan, from whatever folder and shell it is submitted.

    Args:
        plan: What was frozen.
        sources: As they were named to plan.
        destination: Folder of the cohort.
        jobs: Parts; fewer if there are fewer images, or the cluster allows no more.
        arguments: Options of the command that planned.
        cores: For each job.
    """
    count = max(1, min(jobs, len(plan.items), largest_array()))
    peak = max((item.header.peak for item in plan.items if item.header), default=0)
    folder = CohortLayout.of(destination)
    places = [source if is_url(source) else os.path.abspath(source) for source in sources]
    convert = [*_VOXARRAY, "convert", *places, folder.root, *arguments]
    return _SCRIPT.format(
        images=len(plan.items),
        jobs=count,
        finalise=shlex.quote(shlex.join(finalising(destination))),
        cores=cores,
        # Half of what the job may use is the budget.
        megabytes=-(-(2 * peak + _BASE_BYTES) // 2**20),
        time=_time(plan, count),
        folder=shlex.quote(folder.root),
        log=shlex.quote(os.path.join(logs_of(folder).replace("%", "%%"), "%A_%a.log")),
        convert=shlex.join(convert),
        restarts=_RESTARTS,
    )


_VOXARRAY = (sys.executable, "-m", "voxarray")
"""As jobs find it, whose shells have no environment activated."""


def finalising(destination: str) -> list[str]:
    """The command that makes the catalogue."""
    return [*_VOXARRAY, "finalise", CohortLayout.of(destination).root]


def logs_of(folder: CohortLayout) -> str:
    """Folder of what the jobs print; SLURM does not make it."""
    return os.path.join(folder.root, "logs")


def submit(text: str, destination: str) -> tuple[str, str]:
    """Submit a script, and the making of the catalogue after all of its jobs.

    Returns:
        Numbers of the array and of the job after it.

    Raises:
        MissingFileError: If there is no ``sbatch`` here (``NO_SBATCH``).
        StateError: If it refuses (``NOT_SUBMITTED``).
    """
    program = shutil.which("sbatch")
    if program is None:
        raise MissingFileError(
            "there is no sbatch here: run this on a node that submits jobs, or leave --submit out "
            "and submit the script there",
            code="NO_SBATCH",
        )
    folder = CohortLayout.of(destination)
    os.makedirs(logs_of(folder), exist_ok=True)
    array = _submitted([program, "--parsable"], text)
    after = [
        program,
        "--parsable",
        f"--dependency=afterany:{array}",
        "--job-name=voxarray-finalise",
    ]
    after += [f"--output={logs_of(folder).replace('%', '%%')}/%j.log", "--mem=4G"]
    last = _submitted([*after, f"--wrap={shlex.join(finalising(destination))}"], "")
    return array, last


def _submitted(command: Sequence[str], text: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  # a program on the user's own path, told by no other
            command, input=text, capture_output=True, text=True, timeout=120, check=True
        )
    except subprocess.CalledProcessError as error:
        raise StateError(
            f"sbatch refused: {error.stderr.strip() or error.stdout.strip()}", code="NOT_SUBMITTED"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StateError(f"sbatch did not answer: {error}", code="NOT_SUBMITTED") from error
    return done.stdout.strip().split(";")[0]  # with a cluster's name behind it, where there are two


def _time(plan: Plan, jobs: int) -> str:
    """Time limit for the part that takes longest, as SLURM writes it; the script goes on after."""
    items = by_size(plan.items)
    parts = [items[number::jobs] for number in range(jobs)]
    seconds = max(
        sum(item.size / _BYTES_A_SECOND + _SECONDS_AN_IMAGE for item in part) for part in parts
    )
    minutes = max(_LEAST_MINUTES, math.ceil(2 * seconds / 60))
    days, rest = divmod(minutes, 24 * 60)
    clock = f"{rest // 60:02d}:{rest % 60:02d}:00"
    return f"{days}-{clock}" if days else clock


def largest_array() -> int:
    """Jobs that an array may have here, by ``scontrol``; 1,000 where there is none."""
    program = shutil.which("scontrol")
    if program is None:
        return _MOST
    try:
        answer = subprocess.run(  # noqa: S603  # found on the user's own path, without arguments of others
            [program, "show", "config"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return _MOST
    sizes = re.findall(r"^(?:MaxArraySize|MaxSubmitJobs)\s*=\s*(\d+)", answer, re.MULTILINE)
    return max(1, min([_MOST, *(int(size) - 1 for size in sizes)]))
