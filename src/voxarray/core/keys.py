"""Names of the fields that every image has, and of the types of images."""

DATA = "data"
"""Key of the tensor (C, W, H, D); present once it is loaded."""

AFFINE = "affine"
"""Key of the (4, 4) affine in RAS+ mm; present once it is loaded, given or set."""

PATH = "path"
"""Key of the path as text, a list of them for several files, ``""`` for data in memory."""

STEM = "stem"
"""Key of the file's name up to its first dot; a list for several files."""

TYPE = "type"
"""Key of the type of image."""

INTENSITY = "intensity"
"""Type of images whose voxels are measurements."""

LABEL = "label"
"""Type of images whose voxels are labels; they are never interpolated."""

SAMPLING_MAP = "sampling_map"
"""Type of images whose voxels are the probability of being sampled."""

RESERVED = (DATA, AFFINE, TYPE, PATH, STEM)
"""Keys that metadata may not use."""


def require_free(key: object) -> None:
    """Refuse what cannot be the key of metadata.

    Raises:
        TypeError: If it is not text.
        ValueError: If it is one of `RESERVED`.
    """
    if not isinstance(key, str):
        raise TypeError(f"fields of an image are named by text, not by {key!r}")
    if key in RESERVED:
        raise ValueError(f'Key "{key}" is reserved. Use a different one')
