"""The script of a SLURM job array, whose tasks convert the parts of a plan independently."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan, by_size
from voxarray.core import exit_codes
from voxarray.storage.remote.address import is_url

_MOST = 1000
"""Default limit of jobs in an array, as computing centres recommend."""

_BASE_BYTES = 512 << 20
"""Memory of the interpreter, its libraries, and the page cache that counts for the job."""

_BYTES_A_SECOND = 10 << 20
"""Bytes of voxels that one core of a slow node reads from a busy disk: 10 % of the usual rate."""

_SECONDS_AN_IMAGE = 2
_LEAST_MINUTES = 10

_SCRIPT = """\
#!/bin/bash
# {images} images in {jobs} jobs. Parts may run in any order and at the same time. A part
# may run again: finished images are kept. These two lines submit this script, and a job after it
# that resubmits parts that were killed, cancelled or out of time, and makes the catalogue:
#   array=$(sbatch --parsable THIS_SCRIPT)
#   sbatch --dependency=afterany:$array --mem=4G --wrap={finalise}
# or let voxarray do both: the command that printed this, with --submit.
#SBATCH --job-name=voxarray
#SBATCH --array=1-{jobs}
#SBATCH --cpus-per-task={cores}
#SBATCH --mem={megabytes}M
#SBATCH --time={time}
#SBATCH --chdir={folder}
#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --requeue
# Two minutes before the time is over this shell gets SIGTERM, and passes it on to voxarray.
#SBATCH --signal=B:TERM@120
# If your centre asks for these, remove one #:
##SBATCH --account=ACCOUNT
##SBATCH --partition=PARTITION
set -u
export MALLOC_ARENA_MAX=2
{command} --partition "auto/{jobs}" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do  # a signal ends wait, not the work
  wait "$child"
  code=$?
done
# {stopped}, or {terminated} if the signal came before Python was ready: the task was stopped, and
# finished images are kept. The task is queued again, unless it was already queued again several
# times.
if [[ "$code" =~ ^({to_resume})$ ]] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
  {scontrol} requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
if [ "$code" -eq {killed} ]; then
  echo "part $SLURM_ARRAY_TASK_ID was killed: it may need more than {megabytes} MiB (--mem)" >&2
fi
exit "$code"
"""

_RESTARTS = 10

VOXARRAY = (sys.executable, "-m", "voxarray")
"""The command with a full path, since the shells of jobs have no environment activated."""


def script(
    plan: Plan, command: Sequence[str], destination: str, jobs: int, *, cores: int = 2
) -> str:
    """A script for ``sbatch`` that executes a plan; it can be submitted from any folder and shell.

    Args:
        plan: The plan.
        command: Name and arguments of the subcommand that executes it, with absolute paths.
        destination: Folder of the cohort.
        jobs: Parts; fewer if there are fewer images, or the cluster allows no more.
        cores: For each job.
    """
    count = max(1, min(jobs, len(plan.items), largest_array()))
    peak = max((item.header.peak for item in plan.items if item.header), default=0)
    folder = CohortLayout.of(destination)
    logs = folder.logs
    return _SCRIPT.format(
        images=len(plan.items),
        jobs=count,
        finalise=shlex.quote(f"{shlex.join(finalising(folder))} --resubmit THIS_SCRIPT"),
        cores=cores,
        # Twice the peak, since the memory budget is half of the memory that the job may use.
        megabytes=-(-(2 * peak + _BASE_BYTES) // 2**20),
        time=_time(plan, count),
        folder=shlex.quote(logs if is_url(folder.root) else folder.root),
        log=shlex.quote(f"{pattern_of(logs)}/%A_%a.log"),
        command=shlex.join([*VOXARRAY, *command]),
        # With its full path, since the shell of a job may have the system's PATH only.
        scontrol=shlex.quote(shutil.which("scontrol") or "scontrol"),
        restarts=_RESTARTS,
        to_resume=f"{exit_codes.STOPPED}|{exit_codes.TERMINATED}",
        stopped=exit_codes.STOPPED,
        terminated=exit_codes.TERMINATED,
        killed=exit_codes.KILLED,
    )


def finalising(folder: CohortLayout) -> list[str]:
    """The command that makes the catalogue."""
    return [*VOXARRAY, "finalise", folder.root]


def pattern_of(path: str) -> str:
    """A path for SLURM's file name patterns, in which ``%`` is doubled."""
    return path.replace("%", "%%")


def _time(plan: Plan, jobs: int) -> str:
    """Time limit for the longest part, as SLURM writes it; then the script requeues the task."""
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
