"""Transforms that interpolate voxels on another grid."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import GridError, UnsupportedError, naming_errors_of_system
from voxarray.core.history import Entry, entry
from voxarray.geometry.grid import Grid
from voxarray.image import Image, ScalarImage
from voxarray.ops.gaussian import Blurred
from voxarray.ops.kernels import kernel
from voxarray.ops.resampling import Resampled
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.transform import SpatialTransform

Target = float | Sequence[float] | NDArray | str | os.PathLike[str] | Image | Grid | tuple[Any, Any]

_FWHM = 2 * math.sqrt(2 * math.log(2))


class Resample(SpatialTransform):
    """Bring images onto another grid. Images that share a grid before share one afterwards, too.

    Integer images stay integers: interpolated values are truncated toward zero, as in TorchIO. To
    keep fractions, apply ``vx.To("float32")`` first.

    Examples:
        >>> scan = vx.testing.sample()
        >>> scan.spacing
        (2.0, 2.0, 2.0)
        >>> vx.Resample(4)(scan).shape
        (1, 32, 28, 24)

    Args:
        target: Spacing in mm, one number or three; or the grid to sample on: a `Grid`, a pair of
            (W, H, D) and affine, an `Image`, its path, or its name in the subject (that image
            itself is left alone).
        image_interpolation: Interpolation of images: ``"nearest"``, ``"linear"``, ``"bspline"`` (or
            ``"cubic"``), ``"gaussian"``, ``"hamming"``, ``"cosine"``, ``"welch"``, ``"lanczos"``,
            ``"blackman"``, or ``"label_gaussian"``, which takes the value with the most weight.
        label_interpolation: Interpolation of label maps, which never makes new values:
            ``"nearest"`` or ``"label_gaussian"``.
        pre_affine_name: Key in the metadata of images. Its value is a (4, 4) matrix in RAS+ mm by
            which the image is moved before it is resampled. Images without this key are not moved.
        scalars_only: Transform only images of class `ScalarImage`.
        antialias: Smooth images, but not label maps, along axes whose spacing grows, to avoid
            aliasing (Cardoso et al., MICCAI 2015). The result is floating-point.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For a spacing that is not positive, an unknown interpolation, and one that would
            make new values in label maps. When applied, if no image has the matrix.
        TypeError: For an invalid target.
    """

    args_names: ClassVar[tuple[str, ...]] = (
        *("target", "image_interpolation", "label_interpolation", "pre_affine_name"),
        *("scalars_only", "antialias"),
    )

    def __init__(
        self,
        target: Target = 1,
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        pre_affine_name: str | None = None,
        scalars_only: bool = False,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = _checked_target(target)
        self.image_interpolation = kernel(image_interpolation).name
        self.label_interpolation = label_kernel(label_interpolation)
        self.pre_affine_name = pre_affine_name
        self.scalars_only, self.antialias = scalars_only, antialias

    def apply_transform(self, subject: Subject) -> Subject:
        name = self.pre_affine_name
        if name is not None and not any(name in image for image in self._images(subject)):
            raise ValueError(f"no image in the subject has the matrix {name!r} (pre_affine_name)")
        return super().apply_transform(subject)

    def applies_to(self, image: Image) -> bool:
        return isinstance(image, ScalarImage) or not self.scalars_only

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        # Onto its own grid nothing is interpolated: the voxels keep their type and their bits.
        if self._reference(subject) is image:
            return source
        is_scalar = isinstance(image, ScalarImage)
        moved = self._moved(source, image)
        grid = self._grid(moved.grid, subject)
        name = self.image_interpolation if is_scalar else self.label_interpolation
        if moved is source and grid == source.grid and not is_scalar and name == "nearest":
            return source  # nor is anything of other label maps changed; scans become float32
        smooth = _antialiased(moved, grid) if self.antialias and is_scalar else moved
        return Resampled.onto(smooth, grid, name)

    def entries(self, image: Image, subject: Subject) -> tuple[Entry, ...]:
        arguments = {**self.arguments, "pre_affine_name": None}
        before: tuple[Entry, ...] = ()
        moved = self._moved(image.source, image)
        grid = self._grid(moved.grid, subject)
        if not isinstance(self.target, tuple) or grid != spaced(moved.grid, self.target):
            arguments["target"] = [grid.shape, grid.affine]
        if moved is not image.source and not np.array_equal(moved.affine, image.affine):
            before = (entry("set_affine", {"affine": moved.affine}),)
        return (*before, entry(self.name, arguments, self.version))

    def _moved(self, source: SlicedSource, image: Image) -> SlicedSource:
        name = self.pre_affine_name
        if name is None or name not in image:
            return source
        return source.with_affine(_matrix(image[name], name) @ source.affine)

    def _grid(self, grid: Grid, subject: Subject) -> Grid:
        """Where the result is, for an image on the grid ``grid``."""
        if isinstance(self.target, Grid):
            return self.target
        if isinstance(self.target, tuple):
            return self._spaced(grid, self.target, subject)
        reference = self._reference(subject)
        if reference is None:
            return ScalarImage(self.target).grid
        return reference.grid

    def _spaced(self, grid: Grid, spacing: Sequence[float], subject: Subject) -> Grid:
        """A grid of that spacing, on which images of one grid stay together.

        A number of voxels that is almost whole may be rounded differently for affines that differ
        by rounding errors, such as those of a DICOM folder and of a NIfTI file. Then the first
        image decides.
        """
        result = spaced(grid, spacing)
        for image in self.get_images(subject).values():
            first = self._moved(image.source, image).grid
            if first.isclose(grid):
                other = spaced(first, spacing)
                return result if other.shape == result.shape else other
        return result

    def _reference(self, subject: Subject) -> Image | None:
        """The image whose grid is taken; None for a spacing, a grid or a path."""
        if isinstance(self.target, Image):
            return self.target
        if not isinstance(self.target, str):
            return None
        if self.target in subject.get_images_names():
            return subject.get_image(self.target)
        if not os.path.exists(self.target):
            raise GridError(
                f"{self.target!r} is neither the name of an image in the subject (it has "
                f"{subject.get_images_names()}) nor a path that exists: give one of these or, for "
                "a spacing, a number of mm, such as 2",
                code="NO_REFERENCE",
                path=self.target,
            )
        return None

    def _images(self, subject: Subject) -> list[Image]:
        return subject.get_images(intensity_only=False)


class Resize(SpatialTransform):
    """Bring images to a number of voxels in the same field of view; their spacing changes.

    Integer images stay integers: interpolated values are truncated toward zero, as by `Resample`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> vx.Resize(32)(scan).shape
        (1, 32, 32, 32)

    Args:
        target_shape: (W, H, D), or one number for all; -1 leaves an axis as it is.
        image_interpolation: Interpolation of images: one of the names that `Resample` lists.
        label_interpolation: Interpolation of label maps: one of the names that `Resample` lists for
            them.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For invalid numbers, and interpolations as for `Resample`.
    """

    args_names: ClassVar[tuple[str, ...]] = (
        *("target_shape", "image_interpolation", "label_interpolation"),
    )

    def __init__(
        self,
        target_shape: int | Sequence[int],
        image_interpolation: str = "linear",
        label_interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        shape: list[Any] = np.ravel(target_shape).tolist()
        shape = shape * 3 if len(shape) == 1 else shape
        are_numbers = all(isinstance(n, (int, float)) and math.isfinite(n) for n in shape)
        if (
            len(shape) != 3
            or not are_numbers
            or any(n != int(n) or n < -1 or n == 0 for n in shape)
        ):
            raise ValueError(
                f"target_shape is one positive whole number or three, or -1, not {target_shape!r}"
            )
        self.target_shape = tuple(int(n) for n in shape)
        self.image_interpolation = kernel(image_interpolation).name
        self.label_interpolation = label_kernel(label_interpolation)

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        is_scalar = isinstance(image, ScalarImage)
        sizes = [
            n if length == -1 else length
            for n, length in zip(source.shape[1:], self.target_shape, strict=True)
        ]
        grid = source.grid
        spacing = [s * n / m for s, n, m in zip(grid.spacing, grid.shape, sizes, strict=True)]
        name = self.image_interpolation if is_scalar else self.label_interpolation
        return Resampled.onto(source, _centred(grid, sizes, spacing), name)


def spaced(grid: Grid, spacing: Sequence[float]) -> Grid:
    """The largest grid of another spacing that keeps to the volume and its middle, as TorchIO's.

    An axis of one voxel keeps that voxel.
    """
    sizes = [
        1 if size == 1 else max(1, math.floor(size * old / new))
        for size, old, new in zip(grid.shape, grid.spacing, spacing, strict=True)
    ]
    return _centred(grid, sizes, spacing)


def label_kernel(name: str) -> str:
    """An interpolation that label maps may have.

    Raises:
        UnsupportedError: If it makes values that are none of the labels; also a ValueError.
    """
    used = kernel(name)
    if not used.keeps_values:
        raise UnsupportedError(
            f"{name!r} would make new values, and labels are names, not quantities: use 'nearest' "
            "or 'label_gaussian', or make a ScalarImage of a map of probabilities",
            code="NOT_FOR_LABELS",
        )
    return used.name


def _centred(grid: Grid, sizes: Sequence[int], spacing: Sequence[float]) -> Grid:
    direction, middle = grid.direction, np.array(grid.centre)
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(spacing)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(sizes) - 1) / 2)
    return Grid((sizes[0], sizes[1], sizes[2]), affine)


def _antialiased(source: SlicedSource, grid: Grid) -> Source:
    """The source without what a coarser spacing cannot show."""
    factors = np.array(grid.spacing) / np.array(source.grid.spacing)
    # Widths at half height add up in squares: those of the old and the new voxels differ by this
    # much (Cardoso et al., MICCAI 2015; TorchIO takes the same).
    variances = np.maximum(factors**2 - 1, 0) / _FWHM**2
    x, y, z = np.sqrt(variances).tolist()
    return Blurred.by(source, (x, y, z), mode="nearest") if variances.any() else source


def _matrix(value: Any, name: str) -> NDArray[np.float64]:
    if not hasattr(value, "__array__"):
        raise TypeError(f"{name!r} is an array or tensor (4, 4), not {type(value).__name__}")
    matrix = np.asarray(value, np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"{name!r} has shape (4, 4), not {matrix.shape}")
    return matrix


def _checked_target(target: Any) -> Any:
    """A target as a tuple of three spacings, a `Grid`, an image, or text."""
    if isinstance(target, (Image, Grid, str)):
        return target
    if isinstance(target, os.PathLike):
        path = Path(target).expanduser()
        with naming_errors_of_system(str(path)):
            is_there = path.exists()
        if not is_there:
            raise GridError(
                f"there is no file {path} to resample onto: check the path; a relative path begins "
                "at the current folder",
                code="NO_REFERENCE",
                path=path,
            )
        return str(path)
    if isinstance(target, (int, float, np.integer, np.floating)):
        return _spacing([target] * 3)
    if isinstance(target, (tuple, list)) and len(target) == 2:
        shape, affine = target
        if np.shape(shape) != (3,) or np.shape(affine) != (4, 4):
            raise GridError(
                "a grid is given as (W, H, D) and an affine of shape (4, 4), not as "
                f"{shape!r} and {affine!r}; a spacing is one number or three, in mm"
            )
        if any(n != int(n) for n in shape):
            raise GridError(f"a grid must have whole numbers of voxels, not {shape!r}")
        return Grid(tuple(int(n) for n in shape), affine)  # type: ignore[arg-type]
    if isinstance(target, (Sequence, np.ndarray)) and len(target) == 3:
        return _spacing(target)
    raise TypeError(
        "a target is a spacing, a pair of shape and affine, a Grid, an image, its path or its "
        f"name in the subject, not {target!r}"
    )


def _spacing(values: Any) -> tuple[float, ...]:
    spacing = tuple(float(value) for value in np.asarray(values).ravel())
    if not all(math.isfinite(value) and value > 0 for value in spacing):
        raise ValueError(f"a spacing must be positive, not {spacing}")
    return spacing
