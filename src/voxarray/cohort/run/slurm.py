"""The script of a SLURM job array: parts of a plan, with no scheduler of ours alive."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence

from voxarray.cohort.plan.plan import Plan

_MOST = 1000
"""Jobs in an array where nobody says otherwise: what centres advise."""

_BASE_BYTES = 512 << 20
"""The interpreter, its libraries, and what the page cache is charged for."""

_SCRIPT = """\
#!/bin/bash
# {images} images in {jobs} jobs. Parts may run in any order, at once, and again: what is done
# stays done. Then make the catalogue, which also names what is missing:
#   array=$(sbatch --parsable THIS_SCRIPT)
#   sbatch --dependency=afterany:$array --wrap={finalise}
#SBATCH --job-name=voxarray
#SBATCH --array=1-{jobs}
#SBATCH --cpus-per-task={cores}
#SBATCH --mem={megabytes}M
#SBATCH --time={hours:02d}:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
set -eu
export MALLOC_ARENA_MAX=2
exec {convert} --partition "$SLURM_ARRAY_TASK_ID/{jobs}"
"""


def script(
    plan: Plan,
    sources: Sequence[str],
    destination: str,
    jobs: int,
    *,
    arguments: Sequence[str] = (),
    cores: int = 2,
    hours: int = 4,
) -> str:
    """A script for ``sbatch`` that converts a plan.

    Args:
        plan: What was frozen.
        sources: As they were named to plan.
        destination: Folder of the cohort.
        jobs: Parts; fewer if there are fewer images, or the cluster allows no more.
        arguments: Options of the command that planned.
        cores: For each job.
        hours: Likewise.
    """
    count = max(1, min(jobs, len(plan.items), largest_array()))
    peak = max((item.header.peak for item in plan.items if item.header), default=0)
    convert = ["voxarray", "convert", *sources, destination, *arguments]
    finalise = shlex.join(["voxarray", "finalise", destination])
    return _SCRIPT.format(
        images=len(plan.items),
        jobs=count,
        finalise=shlex.quote(finalise),
        cores=cores,
        # Half of what the job may use is the budget.
        megabytes=-(-(2 * peak + _BASE_BYTES) // 2**20),
        hours=hours,
        convert=shlex.join(convert),
    )


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
