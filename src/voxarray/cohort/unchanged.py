"""The transform of a cohort that is only written again."""

from __future__ import annotations

from dataclasses import dataclass

from voxarray.subject import Subject


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Leaves subjects as they are: their archives are written again, with other options."""

    def __call__(self, subject: Subject) -> Subject:
        return subject
