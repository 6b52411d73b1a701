"""The picture of `evaluate`: which slice of which subject is drawn, over which scan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.cohort.cohort import Cohort
from voxarray.core.errors import GridError, MissingFileError, StateError
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.image import Image, ScalarImage
from voxarray.rendering.matplotlib_import import figure
from voxarray.rendering.montage import MontageRow, montage_row, save_montage
from voxarray.storage.destination import local_destination


class Slices:
    """How many voxels of a label map each axial slice has.

    Args:
        grid: Of the label map.
    """

    def __init__(self, grid: Grid) -> None:
        order, flipped = grid.reorientation("RAS")
        self._axis = order[2]
        self._is_flipped = 2 in flipped
        self._counts: NDArray[np.int64] = np.zeros(grid.shape[self._axis], np.int64)

    def add(self, box: Selection, voxels: NDArray) -> None:
        """Count a piece (1, w, h, d)."""
        across = tuple(axis for axis in range(3) if axis != self._axis)
        span = box.spatial[self._axis]
        self._counts[span.start : span.stop] += np.count_nonzero(voxels[0], axis=across)

    @property
    def fullest(self) -> int | None:
        """From inferior to superior; None if all are empty."""
        if not self._counts.any():
            return None
        position = int(self._counts.argmax())
        return len(self._counts) - 1 - position if self._is_flipped else position


@dataclass
class _Subject:
    prediction: Image
    reference: Image
    scan: Image
    slices: Slices


class Montage:
    """Rows of a picture, of which only slices are read.

    Args:
        path: Where it is saved.
        images: The scan, its path or a cohort; None for that of the references.
        most: Rows at most.

    Raises:
        MissingPackageError: If matplotlib is not installed.
        MissingFileError: If its folder is not there.
        ValueError: For no rows, and a kind of file that cannot be drawn.
    """

    def __init__(self, path: str | os.PathLike[str], images: Any, most: int) -> None:
        if most < 1:
            raise ValueError(f"a montage has at least one subject, not {most}")
        # A missing package, and a path that cannot be, are named before hours of counting.
        supported = figure((1, 1)).canvas.get_supported_filetypes()
        suffix = os.path.splitext(path)[1].removeprefix(".").lower()
        if suffix not in supported:
            raise ValueError(
                f"montage={os.fspath(path)!r}: expected one of .{', .'.join(supported)}"
            )
        if not os.path.isdir(os.path.dirname(os.path.abspath(local_destination(path)))):
            raise MissingFileError(
                f"there is no folder for {os.fspath(path)}: make it first", path=path
            )
        self.most = most
        self.left_out = 0
        self._path = local_destination(path)
        self._images = images
        self._subjects: dict[str, _Subject] = {}
        self._rows: list[MontageRow] = []

    def scan(
        self, name: str = "", reference: Cohort | None = None, labels: Sequence[Image] = ()
    ) -> Image:
        """What the labels of a subject are drawn over.

        Of several scans, it is the one whose archive holds the labels.

        Args:
            name: Of the subject.
            reference: Cohort of the references; None for two label maps.
            labels: Its label maps.

        Raises:
            StateError: If there is none, or one of several (``NO_SCAN``).
        """
        images = self._images
        if reference is None:
            if images is None:
                raise _missing("none was given")
            scan = ScalarImage(images) if isinstance(images, (str, os.PathLike)) else images
            if not isinstance(scan, Image):
                raise TypeError(f"images is a scan or its path, not {type(images).__name__}")
            return scan
        cohort = reference if images is None else images
        if not isinstance(cohort, Cohort):
            raise TypeError(f"images= of two cohorts is a Cohort, not {type(images).__name__}")
        if name not in cohort.names:
            raise _missing(f"the cohort of images has no subject {name}")
        scans = cohort[name].get_images_dict()
        for label_map in labels:
            for scan in scans.values():
                if _is_layer_of(label_map, scan):
                    return scan
        if "image" not in scans and len(scans) != 1:
            raise StateError(
                f"a montage is drawn over scans, and the subject {name} has the scans "
                f"{sorted(scans)}: expected a single one, or one called 'image', or one whose "
                "archive holds a label map that is compared. Choose one of each subject: "
                "images=cohort.query(\"image == 't1'\"), or on the command line --images with the "
                "folder of a cohort that has one scan of each subject",
                code="NO_SCAN",
            )
        return scans["image"] if "image" in scans else next(iter(scans.values()))

    def expect(self, name: str, prediction: Image, reference: Image, scan: Image) -> None:
        """Take a subject into the picture.

        Raises:
            GridError: If the scan has another grid than the prediction (``GRID_MISMATCH``).
        """
        if not scan.grid.isclose(prediction.grid):
            raise GridError(
                f"the scan {name} has {scan.grid} and the prediction {prediction.grid}: resample "
                "one onto the other first",
                code="GRID_MISMATCH",
                path=scan.source.path,
            )
        self._subjects[name] = _Subject(prediction, reference, scan, Slices(prediction.grid))

    def slices(self, name: str) -> Slices:
        """Where the voxels of a prediction are counted."""
        return self._subjects[name].slices

    def add(self, name: str, dice: Sequence[float]) -> None:
        """Read the slices of a subject whose voxels have been counted."""
        subject = self._subjects.pop(name)
        defined = [value for value in dice if not np.isnan(value)]
        mean = f"mean Dice {np.mean(defined):.3f}" if defined else "no labels"
        title = f"{name}: {mean}" if name else mean
        height = subject.slices.fullest
        self._rows.append(
            montage_row(title, subject.scan, subject.prediction, subject.reference, height)
        )

    def save(self) -> None:
        """Draw what has been added, if anything has."""
        if self._rows:
            save_montage(self._rows, self._path, self.left_out)


def _is_layer_of(label_map: Image, scan: Image) -> bool:
    """Whether a label map is stored in the archive of a scan."""
    # By their paths: a damaged archive is told later, as a failure of this subject alone.
    layer, archive = label_map.path, scan.path
    return archive is not None and str(layer).startswith(f"{archive}/labels/")


def _missing(reason: str) -> StateError:
    text = f"a montage is drawn over scans, and {reason}: pass images= with the scans"
    return StateError(text, code="NO_SCAN")
