"""What is wrong with an archive, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass

from voxarray.core.errors import VoxarrayError


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it was written.

    Attributes:
        code: As errors have.
        where: The file, or the voxel.
        message: What was seen and what was expected.
    """

    code: str
    where: str
    message: str


def problem_of(where: str, error: VoxarrayError) -> Problem:
    """The problem that an error tells of."""
    return Problem(error.code, where, error.message)
