"""Several files of the same grid as the channels of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import StateError
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import OriginalHeader, Source, digest


@dataclass(frozen=True, eq=False)
class ConcatSource(Source):
    """Sources one after another along C; the first one's affine holds for all.

    Attributes:
        parts: At least one source; their (W, H, D) agree.
    """

    parts: tuple[Source, ...]

    @classmethod
    def of(cls, parts: Sequence[Source]) -> ConcatSource:
        """Concatenate sources.

        Warns:
            RuntimeWarning: If the affines differ.

        Raises:
            StateError: If the spatial shapes differ (code ``SHAPES_DIFFER``).
        """
        first = parts[0]
        for part in parts[1:]:
            if part.shape[1:] != first.shape[1:]:
                raise StateError(
                    f"the shapes of the files do not match: {first.path} has {first.shape}, "
                    f"{part.path} has {part.shape}. Channels of one image share W, H and D; "
                    "resample one file onto the other first",
                    code="SHAPES_DIFFER",
                    path=part.path,
                )
            if not part.grid.isclose(first.grid):
                warn_caller(
                    f"Files have different affine matrices; the first is used. If the images lie "
                    f"at different places, resample one onto the other.\nMatrix of {first.path}:\n"
                    f"{first.affine}\nMatrix of {part.path}:\n{part.affine}",
                    RuntimeWarning,
                )
        return cls(tuple(parts))

    @property
    def original_header(self) -> OriginalHeader | None:
        # The first one's affine holds for all, and so does its space; its display range does not.
        first = self.parts[0].original_header
        return None if first is None else replace(first, same_values=False)

    @property
    def shape(self) -> Shape4:
        _, width, height, depth = self.parts[0].shape
        return sum(part.shape[0] for part in self.parts), width, height, depth

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.parts[0].affine

    @property
    def chunks(self) -> Shape4:
        _, width, height, depth = self.parts[0].chunks
        return 1, width, height, depth

    @property
    def bytes_on_disk(self) -> int | None:
        return sum(part.bytes_on_disk or 0 for part in self.parts)

    def read(self, selection: Selection) -> NDArray:
        out = selection.empty(self.dtype)
        for part, channels, positions in self._runs(selection.ranges[0]):
            out[positions] = part.read(Selection((channels, *selection.spatial)))
        return out

    def token(self) -> str:
        return digest("concat", *(part.token() for part in self.parts))

    def _runs(self, channels: range) -> Iterator[tuple[Source, range, slice]]:
        """Parts that hold some of the channels, which of theirs, and where these go in `out`."""
        start = 0
        for part in self.parts:
            stop = start + part.shape[0]
            positions = [n for n, channel in enumerate(channels) if start <= channel < stop]
            if positions:
                selected = channels[positions[0] : positions[-1] + 1]
                local = range(selected.start - start, selected.stop - start, selected.step)
                yield part, local, slice(positions[0], positions[-1] + 1)
            start = stop
