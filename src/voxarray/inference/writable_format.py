"""Whether a format can hold a result, asked of its writer before hours are spent on predicting."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace

import numpy as np

from voxarray.core.errors import VoxarrayError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Selection
from voxarray.inference.predicted import Outline
from voxarray.saving import save


class _ReachedError(Exception):
    """The writer has found nothing wrong and asks for voxels."""


@dataclass(frozen=True, eq=False)
class _Rehearsed(Outline):
    scaling: Scaling | None = None

    def unscaled(self) -> _Rehearsed:
        return self if self.scaling is None else replace(self, scaling=None, dtype=np.dtype("u1"))

    def read(self, selection: Selection) -> np.ndarray:  # noqa: ARG002
        raise _ReachedError


def require_writable(
    outline: Outline, target: str, *, label: bool, scaling: Scaling | None = None
) -> None:
    """Refuse what the format of a file cannot hold; no voxels are read or made.

    Args:
        outline: The result, as it will be stored.
        target: The file, of which only the name is used.
        label: Whether it is a label map.
        scaling: What makes intensities of what is stored.

    Raises:
        UnsupportedError: As `save`.
    """
    dtype = outline.dtype if scaling is None else scaling.dtype(outline.dtype)
    source = _Rehearsed(outline.shape, dtype, outline.affine, outline.inputs, scaling=scaling)
    with tempfile.TemporaryDirectory(prefix="voxarray-") as folder:
        try:
            save(
                source,
                os.path.join(folder, os.path.basename(target)),
                label=label,
                overwrite=False,
                progress=False,
            )
        except _ReachedError:
            pass
        except VoxarrayError as error:
            error.path = target
            raise
