"""Several images of one patient: `Subject`, and whether its images agree."""

from __future__ import annotations

from voxarray.subject.subject import Subject

__all__ = ["Subject"]
