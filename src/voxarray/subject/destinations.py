"""Where the images of a subject are written: a folder, or a place in a bucket."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from voxarray.core.disk import refusal
from voxarray.core.errors import ArchiveExistsError
from voxarray.formats.registry import writable_format
from voxarray.storage.destination import destination_of, local_destination
from voxarray.storage.remote.address import is_url
from voxarray.storage.uploads import refuse_existing


def prepared(
    folder: str | os.PathLike[str], names: Iterable[str], suffix: str, overwrite: bool
) -> dict[str, str]:
    """The path or URL of each image, in a folder that is there now.

    Raises:
        ArchiveExistsError: If one exists and ``overwrite`` is not set; no folder was made.
        ArchiveError: What the disk refuses.
        ValueError: If a name cannot be that of a file, or the folder has that of one.
        UnsupportedError: If it is a URL of no bucket (``UNSUPPORTED_DESTINATION``).
    """
    images = list(names)
    root = destination_of(folder)
    if not is_url(root):
        root = os.path.expanduser(local_destination(folder))
    image_format = writable_format(os.path.basename(os.path.normpath(root)))
    if image_format is not None:
        raise ValueError(
            f"{os.fspath(folder)!r} names one {image_format.name} image, and a subject is saved "
            f"to a folder, one file for each of {', '.join(images)}: give a folder, and the "
            'format as suffix=".nii.gz"'
        )
    files = {name: _file(name, suffix) for name in images}
    if is_url(root):
        targets = {name: f"{root.rstrip('/')}/{file}" for name, file in files.items()}
        for target in () if overwrite else targets.values():
            written = writable_format(target)
            refuse_existing(target, written is not None and written.identity == "zarr")
        return targets
    paths = {name: Path(root) / file for name, file in files.items()}
    try:
        existing = [str(path) for path in paths.values() if path.exists()]
        if overwrite or not existing:
            Path(root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(error, str(Path(root))) from error
    if existing and not overwrite:
        raise ArchiveExistsError(
            f"there is {existing[0]} already: use overwrite=True (--overwrite) to replace it",
            path=existing[0],
        )
    return {name: str(path) for name, path in paths.items()}


def _file(name: str, suffix: str) -> str:
    if name in ("", ".", "..") or "/" in name or os.sep in name or "\0" in name:
        raise ValueError(f"the image {name!r} cannot name a file: give it another name")
    return f"{name}{suffix}"
