"""Preprocessing of a MONAI bundle by our transforms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxarray.core.errors import ModelError
from voxarray.geometry.grid import Grid
from voxarray.inference.monai_transforms import CropForeground, NormalizeIntensity, ScaleIntensity
from voxarray.subject import Subject
from voxarray.transforms import Clamp, Compose, Resample, RescaleIntensity, ToOrientation

_OURS = (
    "LoadImaged",
    "EnsureChannelFirstd",
    "EnsureTyped",
    "ToTensord",
    "CastToTyped",
    "ToDeviced",
)
"""What opening a scan does anyway."""


def preprocessing(steps: Sequence[Mapping[str, Any]], path: str) -> Compose | None:
    """Transforms that do what a bundle's preprocessing does; None if there is nothing to do.

    Args:
        steps: Of the bundle, plain.
        path: Of the configuration, for messages.

    Raises:
        ModelError: For a transform, or an argument of one, that we have not
            (``BUNDLE_TRANSFORM``).
    """
    transforms = []
    for step in steps:
        name = str(step.get("_target_", "")).rsplit(".", 1)[-1]
        if name in _OURS:
            continue
        transform = _KNOWN.get(name, _unknown)(step)
        if transform is None:
            raise ModelError(
                f"{path} preprocesses by {name} with {_arguments(step)}, which voxarray cannot do "
                f"(it knows {', '.join((*_OURS, *_KNOWN))}): pass an equivalent transform as "
                "preprocess=",
                code="BUNDLE_TRANSFORM",
                path=path,
            )
        transforms.append(transform)
    return Compose(transforms) if transforms else None


@dataclass(frozen=True)
class Spacing:
    """Resample to a spacing as MONAI does: the first voxel keeps its centre.

    Attributes:
        spacing: In mm along W, H and D; not positive to keep that of the scan.
        interpolation: Ours.
    """

    spacing: tuple[float, ...]
    interpolation: str

    def __call__(self, subject: Subject) -> Subject:
        """Resample all images onto one grid."""
        target = self.grid(subject.get_first_image().grid)
        onto = Resample((target.shape, target.affine), image_interpolation=self.interpolation)
        return onto(subject)

    def grid(self, grid: Grid) -> Grid:
        """The grid of a resampled image."""
        spacing = [
            requested if requested > 0 else current
            for requested, current in zip(self.spacing, grid.spacing, strict=True)
        ]
        affine = np.array(grid.affine)
        affine[:3, :3] = grid.direction * np.array(spacing)
        corners = np.array(list(itertools.product(*[(0, n - 1) for n in grid.shape])))
        positions = corners * (np.array(grid.spacing) / spacing)
        # MONAI rounds the extent between outermost centres, in numpy's way: halves to even.
        x, y, z = np.round(np.ptp(positions, axis=0) + 1).astype(int).tolist()
        return Grid((x, y, z), affine)


def _orientation(step: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    codes = step.get("axcodes")
    return (
        ToOrientation(codes)
        if isinstance(codes, str) and not step.get("as_closest_canonical")
        else None
    )


def _spacing(step: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    pixdim, mode = step.get("pixdim"), step.get("mode", "bilinear")
    mode = mode[0] if isinstance(mode, (list, tuple)) and mode else mode
    kernel = {"bilinear": "linear", "nearest": "nearest"}.get(str(mode))
    values = [pixdim] * 3 if isinstance(pixdim, (int, float)) else pixdim
    supported = {"_target_", "keys", "pixdim", "mode", "padding_mode", "diagonal", "align_corners"}
    plain = isinstance(values, (list, tuple)) and len(values) == 3 and set(step) <= supported
    if not plain or kernel is None or step.get("diagonal"):
        return None
    if step.get("padding_mode", "border") != "border":
        return None
    return Spacing(tuple(float(value) for value in values), kernel)  # type: ignore[union-attr]


def _scale_range(step: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    numbers: list[Any] = [step.get(name) for name in ("a_min", "a_max", "b_min", "b_max")]
    if step.get("clip") is not True or not all(isinstance(n, (int, float)) for n in numbers):
        return None
    a_min, a_max, b_min, b_max = numbers
    clamp = Clamp(a_min, a_max)
    return Compose([clamp, RescaleIntensity((b_min, b_max), in_min_max=(a_min, a_max))])


def _scale(step: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    if step.get("channel_wise") or step.get("factor") is not None:
        return None
    return ScaleIntensity((step.get("minv", 0.0), step.get("maxv", 1.0)))


def _normalize(step: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    supported = {"_target_", "keys", "subtrahend", "divisor", "nonzero", "channel_wise"}
    constants = {key: step.get(key) for key in ("subtrahend", "divisor")}
    plain = all(v is None or isinstance(v, (int, float)) for v in constants.values())
    if not plain or not set(step) <= supported:
        return None
    return NormalizeIntensity(
        constants["subtrahend"],
        constants["divisor"],
        bool(step.get("nonzero")),
        bool(step.get("channel_wise")),
    )


def _crop_foreground(step: Mapping[str, Any]) -> Callable[[Any], Any] | None:
    supported = {"_target_", "keys", "source_key", "margin", "allow_smaller", "k_divisible", "mode"}
    supported |= {"start_coord_key", "end_coord_key"}
    keys = step.get("keys")
    keys = [keys] if isinstance(keys, str) else keys
    is_own_source = isinstance(keys, list) and keys == [step.get("source_key", "")]
    if (
        not is_own_source
        or not set(step) <= supported
        or step.get("mode", "constant") != "constant"
    ):
        return None
    margin, divisor = (_three(step.get(k, d)) for k, d in (("margin", 0), ("k_divisible", 1)))
    if margin is None or divisor is None or min(margin) < 0 or min(divisor) < 1:
        return None
    return CropForeground(margin, bool(step.get("allow_smaller", False)), divisor)


def _three(value: Any) -> tuple[int, int, int] | None:
    values = [value] * 3 if isinstance(value, int) else value
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        return None
    return (values[0], values[1], values[2]) if all(isinstance(v, int) for v in values) else None


def _unknown(step: Mapping[str, Any]) -> None:  # noqa: ARG001
    return None


def _arguments(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key not in ("_target_", "keys")}


_KNOWN: dict[str, Callable[[Mapping[str, Any]], Callable[[Any], Any] | None]] = {
    "Orientationd": _orientation,
    "Spacingd": _spacing,
    "ScaleIntensityRanged": _scale_range,
    "ScaleIntensityd": _scale,
    "NormalizeIntensityd": _normalize,
    "CropForegroundd": _crop_foreground,
}
