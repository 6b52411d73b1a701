"""The number of this process in a job array, from the environment variables of the job system."""

from __future__ import annotations

import os
from collections.abc import Mapping

from voxarray.core.errors import FormatError

_VARIABLES: Mapping[str, int] = {
    "SLURM_ARRAY_TASK_ID": 1,
    "PBS_ARRAY_INDEX": 1,  # PBS Professional, OpenPBS
    "PBS_ARRAYID": 1,  # Torque
    "LSB_JOBINDEX": 1,  # LSF: 0 in a job that is no array
    "SGE_TASK_ID": 1,  # Grid Engine: "undefined" in a job that is no array
    "JOB_COMPLETION_INDEX": 0,  # Kubernetes, an indexed Job
    "AWS_BATCH_JOB_ARRAY_INDEX": 0,
}
"""Variables, and the number of the first task of an array in each, as our scripts submit it."""


def part_of_array(of: int) -> tuple[int, int]:
    """The part of a plan that this task of an array of ``of`` tasks is to do.

    Args:
        of: Tasks.

    Raises:
        FormatError: If no variable tells (``NO_ARRAY_INDEX``), two tell different things
            (``AMBIGUOUS_ARRAY_INDEX``), or the number is none of 1 to ``of``
            (``BAD_ARRAY_INDEX``).
    """
    variables = {name: os.environ[name] for name in _VARIABLES if _is_told(name)}
    if not variables:
        raise FormatError(
            "no environment variable says which task of a job array this is "
            f"({', '.join(_VARIABLES)}): submit a job array of {of} tasks, or write the "
            f"number of the part instead of auto, such as 1/{of}",
            code="NO_ARRAY_INDEX",
        )
    numbers = {name: int(text) + 1 - _VARIABLES[name] for name, text in variables.items()}
    if len(set(numbers.values())) > 1:
        raise FormatError(
            "environment variables disagree about which task of a job array this is: "
            f"{_variables_text(variables)}; write the number of the part instead of auto, such as "
            f"1/{of}",
            code="AMBIGUOUS_ARRAY_INDEX",
        )
    number = next(iter(numbers.values()))
    if not 1 <= number <= of:
        first = {_VARIABLES[name] for name in variables}
        raise FormatError(
            f"{_variables_text(variables)} is not the number of one of the {of} tasks: number them "
            f"from {min(first)} to {min(first) + of - 1}",
            code="BAD_ARRAY_INDEX",
        )
    return number, of


def _is_told(name: str) -> bool:
    text = os.environ.get(name, "")
    if not text.isascii() or not text.isdigit():
        return False
    return not (name == "LSB_JOBINDEX" and int(text) == 0)


def _variables_text(variables: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in variables.items())
