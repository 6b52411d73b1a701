"""What nibabel, xarray and TorchIO call by a name that is not there here, and what to use instead.

For the errors of attributes that are missing. Names of TorchIO's module: `torchio_names`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LAZY = ("astype", "clip", "isel", "mean", "max", "min", "sel", "std", "sum", "where")

_READ = ("load", "open", "open_image", "imread", "read", "read_image", "ReadImage")
_WRITE = ("save", "imwrite", "write_image", "WriteImage")

MODULE: dict[str, str] = {
    **dict.fromkeys(_READ, "vx.ScalarImage(path) or vx.LabelMap(path)"),
    **dict.fromkeys(_WRITE, "image.save(path)"),
    "samplers": "samplers are in vx itself, such as vx.UniformSampler",
    "open_dataset": 'xarray.open_dataset(path, engine="voxarray")',
}
"""Advice by attribute of the package."""

IMAGE: dict[str, str] = {
    "get_fdata": "image.numpy(), which is (C, W, H, D), or image.to_nibabel().get_fdata()",
    "get_data": "image.numpy(), which is (C, W, H, D)",
    "dataobj": "image.array, or image.to_nibabel().dataobj",
    "header": "image.spacing, image.orientation_str, ..., or image.to_nibabel().header",
    "get_affine": "image.affine",
    "to_filename": "image.save(path)",
    "ndim": "len(image.shape), which is always 4",
    "size": "math.prod(image.shape)",
    "dims": "image.array.dims",
    "coords": "image.array.coords",
    "labels": "vx.Archive(image.path).labels, if the image is an archive",
    **{name: f"image.array.{name}(...), which is lazy" for name in _LAZY},
    "is_2d": "image.shape[-1] == 1",
    "check_is_2d": "image.width, image.height and image.as_pil check that the image is 2D",
    "get_spacing_string": "repr(image)",
    "read_and_check": "vx.open_source(path)",
    "to_ras": "vx.ToCanonical()(image)",
}
"""Advice by attribute of an image."""

_INSIDE = ("add_transform", "clear_history", "get_applied_transforms", "get_composed_history")

SUBJECT: dict[str, str] = {
    "to_torchio": "torchio.Subject({name: image.to_torchio() for name, image in "
    "subject.get_images_dict(intensity_only=False).items()})",
    **dict.fromkeys((*_INSIDE, "history"), "each image has its own history: subject.t1.history"),
    "apply_inverse_transform": "voxarray cannot undo preprocessing",
    "get_inverse_transform": "voxarray cannot undo preprocessing",
    "get_label_map": 'subject["name"]',
    "get_scalar_image": 'subject["name"]',
    "is_2d": "subject.spatial_shape[-1] == 1",
    "update_attributes": "not needed: in voxarray, attributes and keys of a subject always agree",
}
"""Advice by attribute of a subject."""


def similar(name: str, names: Iterable[str]) -> str:
    """The names that one may be a slip of, as advice; empty if there are none."""
    by_letters = {candidate.lower(): candidate for candidate in names}
    matches = get_close_matches(name.lower(), by_letters, cutoff=0.8)
    return (
        f"did you mean {' or '.join(by_letters[candidate] for candidate in matches)}?"
        if matches
        else ""
    )


def listed(names: Iterable[object], most: int = 8) -> str:
    """The first of some names, and how many more there are."""
    quoted = list(map(repr, names))
    more = f" and {len(quoted) - most} more" if len(quoted) > most else ""
    return f"{', '.join(quoted[:most])}{more}" if quoted else "none"
