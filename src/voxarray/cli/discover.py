"""Which images a path on the command line means, and what the archive of each is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from voxarray.archive.staging import is_hidden_staging
from voxarray.archive.zip_file import SUFFIX as ZIP_SUFFIX
from voxarray.sources.dicom.files import SUFFIXES as DICOM_SUFFIXES
from voxarray.sources.dicom.files import is_dicom_folder
from voxarray.sources.registry import known_suffixes, suffix_of
from voxarray.sources.siblings import has_header_beside

ARCHIVE_SUFFIXES = (".ome.zarr", ".nii.zarr", ".zarr", ZIP_SUFFIX)

_NAMED_ONLY = {".png", ".jpg", ".jpeg", ".bmp", ".npy", ".h5", ".hdf5"}
"""Suffixes that, in a folder of scans, are those of reports and transforms rather than of scans."""


def images(path: str) -> list[Path]:
    """The file or archive at a path, or all that can be opened in a folder and below, sorted.

    The DICOM files of a folder count as one image, named by the folder, and so do the two files of
    a pair, named by the header. Figures, arrays and transforms have to be named one by one.
    """
    given = Path(path)
    if not given.is_dir() or is_archive(given):
        return [given]
    return sorted(_below(given, set(known_suffixes()) - _NAMED_ONLY))


def archives(path: str) -> list[Path]:
    """The archive at a path, or all archives in a folder and below, sorted."""
    return [found for found in images(path) if is_archive(found) or found == Path(path)]


def is_archive(path: Path) -> bool:
    """Whether a path has the name or the look of an archive."""
    return suffix_of(path) in ARCHIVE_SUFFIXES or (path / "zarr.json").is_file()


def destinations(sources: Iterable[str], destination: str, zipped: bool) -> list[tuple[Path, Path]]:
    """Pairs of an image and the archive to make of it.

    One image may be given the name of its archive; otherwise ``destination`` is a folder, which
    takes over the folders below each source. Archives that are in it already, from an earlier
    run, are no sources.

    Raises:
        click.UsageError: If two images would make the same archive, or ``destination`` names one
            archive and there are more images, or it shall be a zip and is not named like one.
    """
    found = [
        (image, Path(source))
        for source in sources
        for image in images(source)
        if image == Path(source) or not _is_result(image, Path(destination))
    ]
    if suffix_of(destination) in ARCHIVE_SUFFIXES:
        if zipped and suffix_of(destination) != ZIP_SUFFIX:
            raise click.UsageError(f"--zip makes {ZIP_SUFFIX} files, and {destination} is none")
        if len(found) != 1:
            raise click.UsageError(
                f"{destination} names one archive, and there are {len(found)} images: "
                "give a folder as the destination"
            )
        return [(found[0][0], Path(destination))]
    suffix = ZIP_SUFFIX if zipped else ".ome.zarr"
    pairs = []
    for image, source in found:
        folder = image.parent.relative_to(source) if image != source else Path()
        pairs.append((image, Path(destination) / folder / f"{stem(image)}{suffix}"))
    _refuse_collisions(pairs)
    return pairs


def stem(path: Path) -> str:
    """Name without its suffix, double ones too; a folder of DICOM files has none."""
    if path.is_dir() and not is_archive(path):
        return path.resolve().name
    return path.name[: len(path.name) - len(suffix_of(path))]


def _below(folder: Path, suffixes: set[str]) -> Iterator[Path]:
    if is_dicom_folder(folder):
        yield folder
        suffixes = suffixes - DICOM_SUFFIXES
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if is_hidden_staging(entry.name):
            continue
        if entry.is_dir():
            if is_archive(path):
                yield path
            else:
                yield from _below(path, suffixes)
        elif (suffix := suffix_of(path)) in suffixes and not has_header_beside(entry.path, suffix):
            yield path


def _is_result(image: Path, destination: Path) -> bool:
    return is_archive(image) and image.absolute().is_relative_to(destination.absolute())


def _refuse_collisions(pairs: list[tuple[Path, Path]]) -> None:
    owners: dict[Path, Path] = {}
    for image, archive in pairs:
        other = owners.setdefault(archive, image)
        if other != image:
            raise click.UsageError(
                f"{other} and {image} would both become {archive}: convert them into different "
                "folders"
            )
