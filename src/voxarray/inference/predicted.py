"""What a job makes, as a source: handed on plane by plane, or gathered first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape4
from voxarray.inference.one_pass import OnePass
from voxarray.inference.output_planes import OutputPlanes
from voxarray.inference.volume_job import VolumeJob
from voxarray.patches.accumulator import Accumulator
from voxarray.source.base import Channels, OriginalHeader, Source, VoxelStream, digest

Report = Callable[[int], None]
"""Told how many patches were predicted."""


@dataclass(frozen=True, eq=False)
class Predicted(OnePass):
    """The prediction of a volume, made while it is written: each voxel once, in disk order.

    Attributes:
        job: What is predicted.
        limit: Bytes of RAM that sums may have that wait for more patches.
        cells: Bytes that they will have.
        peak: Bytes of RAM that the job needs in all.
        report: Told of progress.
        scaling: What makes intensities of what is stored; None for nothing.
        origin: Header of the scan's file.
        label_table: Names and colours of the labels, and not those of what was shown.
    """

    job: VolumeJob
    limit: float
    cells: int
    peak: int
    report: Report = field(default=lambda _: None)
    scaling: Scaling | None = None
    origin: OriginalHeader | None = None
    label_table: tuple[Any, ...] = ()

    @property
    def shape(self) -> Shape4:
        return (1, *self.job.native.shape)

    @property
    def dtype(self) -> np.dtype:
        stored = self.job.reduction.dtype
        return stored if self.scaling is None else self.scaling.dtype(stored)

    @property
    def native(self) -> Grid:
        return self.job.native

    @property
    def working_bytes(self) -> int:
        return self.peak

    @property
    def inputs(self) -> tuple[Source, ...]:
        return tuple(self.job.reader.sources)

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    def unscaled(self) -> Predicted:
        return replace(self, scaling=None)

    def stream(self) -> VoxelStream:
        return PredictedStream(self)

    def token(self) -> str:
        return digest("predicted", id(self.job), self.scaling)


class PredictedStream(VoxelStream):
    """Predicts as far as is asked for.

    Args:
        source: What is predicted.
    """

    def __init__(self, source: Predicted) -> None:
        self._shape = source.job.native.shape
        self._stored, self._scaling = source.job.reduction.dtype, source.scaling
        self._planes = OutputPlanes(self._shape, self._stored)
        self._work = source.job.run(
            source.limit,
            source.cells,
            lambda box, voxels: self._planes.put(box, voxels[0]),
            source.report,
        )
        self._done = 0

    def read_into(self, out: NDArray) -> None:
        if self._scaling is None:
            self._read_stored(out)
            return
        stored = np.empty(out.shape, self._stored)
        self._read_stored(stored)
        out[...] = self._scaling.apply(stored)

    def _read_stored(self, out: NDArray) -> None:
        w, h, d = self._shape
        _, z, y, x = (int(n) for n in np.unravel_index(self._done, (1, d, h, w)))
        _, planes, rows, columns = out.shape
        while (complete := self._planes.complete) < z + planes:
            if columns == w and z < complete:  # at once: what waits for others is held twice
                self._planes.take(range(z, complete), range(h), out[0, : complete - z])
                self._done += (complete - z) * h * w
                z, planes, out = complete, z + planes - complete, out[:, complete - z :]
            next(self._work)
        if columns == w:
            self._planes.take(range(z, z + planes), range(y, y + rows), out[0])
        else:  # a part of one row
            row = np.empty((1, 1, w), out.dtype)
            self._planes.take(range(z, z + 1), range(y, y + 1), row, keep=x + columns < w)
            out[0, 0, 0] = row[0, 0, x : x + columns]
        self._done += out.size

    def finish(self) -> None:
        for _ in self._work:  # what is left of it: nothing that the volume needs
            pass

    def close(self) -> None:
        self._work.close()


@dataclass(frozen=True, eq=False)
class Gathered(Source):
    """The prediction of a volume that cannot be handed on in order, after it was made.

    Attributes:
        voxels: As they are stored.
        job: What was predicted.
        scaling: What makes intensities of them; None for nothing.
        origin: Header of the scan's file.
        label_table: Names and colours of the labels, and not those of what was shown.
    """

    voxels: Accumulator
    job: VolumeJob
    scaling: Scaling | None = None
    origin: OriginalHeader | None = None
    label_table: tuple[Any, ...] = ()

    @property
    def shape(self) -> Shape4:
        return (len(self.voxels.voxels), *self.job.native.shape)

    @property
    def dtype(self) -> np.dtype:
        stored: np.dtype = self.voxels.voxels.dtype
        return stored if self.scaling is None else self.scaling.dtype(stored)

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.job.native.affine

    @property
    def channels(self) -> Channels:
        return Channels("channel")

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    @property
    def chunks(self) -> Shape4:
        _, w, h, d = self.shape
        return 1, w, h, max(1, min(d, (1 << 22) // (w * h)))

    def unscaled(self) -> Gathered:
        return replace(self, scaling=None)

    def read(self, selection: Selection) -> NDArray:
        box = selection.bounding_box()
        part = self.voxels.region(box.spatial)[box.ranges[0].start : box.ranges[0].stop]
        copied = np.array(part[selection.slices(box)], order="K")  # the map's pages may be let go
        return copied if self.scaling is None else self.scaling.apply(copied)

    def token(self) -> str:
        return digest("gathered", id(self.voxels), self.scaling)


def gathered(
    job: VolumeJob,
    limit: float,
    cells: int,
    report: Report,
    scaling: Scaling | None,
    origin: OriginalHeader | None,
    label_table: tuple[Any, ...],
) -> Gathered:
    """Predict a volume into RAM, or into a scratch file if it takes more than a quarter of the
    budget.
    """
    voxels = Accumulator((job.channels, *job.native.shape), job.reduction.dtype)

    def put(box: tuple[range, range, range], part: NDArray) -> None:
        voxels.region(box)[...] = part

    for _ in job.run(limit, cells, put, report):
        pass
    return Gathered(voxels, job, scaling, origin, label_table)


@dataclass(frozen=True, eq=False)
class Outline(Source):
    """The size and type of a result: what writing it will need can be told from it.

    Attributes:
        shape: (channels, W, H, D).
        dtype: Of the voxels.
        affine: (4, 4) voxel index to RAS+ mm.
        inputs: What it is computed from.
        label_table: None: names are nothing of size or type.
    """

    shape: Shape4
    dtype: np.dtype
    affine: NDArray[np.float64]
    inputs: tuple[Source, ...]
    lazy: bool = True
    streaming_bytes: int = 0
    reading_bytes: int = 0
    label_table: tuple[Any, ...] = ()

    @property
    def chunks(self) -> Shape4:
        _, w, h, d = self.shape
        return 1, w, h, min(d, 64)

    def read(self, selection: Selection) -> NDArray:  # noqa: ARG002
        raise StateError(
            "this object holds only the size and type of a prediction, and no voxels: save the "
            "prediction, and read what was saved",
            code="ONE_PASS",
        )

    def token(self) -> str:
        return digest("outline", self.shape, self.affine)
