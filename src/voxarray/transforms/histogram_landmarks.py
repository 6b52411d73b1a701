"""Landmarks of histograms: the percentiles of a scan, and files of trained ones."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError, naming_errors_of_system
from voxarray.core.given_paths import path_text
from voxarray.storage.atomic_write import atomic_write
from voxarray.storage.destination import local_destination
from voxarray.storage.remote.address import as_local

DEFAULT_CUTOFF = (0.01, 0.99)
STANDARD_RANGE = (0.0, 100.0)
NUMBER = 13
"""Landmarks of an image: both cutoffs, deciles and quartiles (the median is both)."""

USED = (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12)
"""Landmarks between which intensities are mapped: quartiles but the median are left out."""

Landmarks = NDArray[np.float64]


def percentages(cutoff: tuple[float, float]) -> NDArray[np.float64]:
    """Percentiles that are landmarks, ascending, for a lower and an upper quantile."""
    quartiles, deciles = range(25, 100, 25), range(10, 100, 10)
    # In TorchIO's way: rounding makes them the same numbers.
    return np.array(sorted({*(100 * np.array(cutoff)).tolist(), *quartiles, *deciles}))


def averaged(percentiles: NDArray[np.float64]) -> Landmarks:
    """Landmarks of a standard, from the percentiles (images, n) of those it is made of.

    Each image's range is brought into `STANDARD_RANGE`, and the results are averaged:
    L. G. Nyul, J. K. Udupa and X. Zhang (2000), doi:10.1109/42.836373.
    """
    first, last = percentiles[:, 0], percentiles[:, -1]
    start, stop = STANDARD_RANGE
    with np.errstate(divide="ignore"):
        slopes = np.nan_to_num((stop - start) / (last - first))
    intercept = np.mean(start - slopes * first)
    return np.asarray(slopes @ percentiles / len(percentiles) + intercept)


def parsed(landmarks: Any) -> dict[str, Landmarks] | Landmarks:
    """Landmarks by the names of images, or those of any image, from what a user gives.

    Args:
        landmarks: Path of an ``.npz`` file or a dict, of arrays or paths of ``.npy`` files, by the
            names of images; or a single array or ``.npy`` file for all images.

    Raises:
        ValueError: If they are no ascending numbers, or not `NUMBER`.
        UnsupportedError: For a file of another kind (``UNKNOWN_SUFFIX``).
    """
    if isinstance(landmarks, (str, os.PathLike)):
        return parsed(read(landmarks))
    if isinstance(landmarks, Mapping):
        result = {}
        for name, value in landmarks.items():
            single = read(value) if isinstance(value, (str, os.PathLike)) else value
            if isinstance(single, Mapping):
                raise ValueError(
                    f"the landmarks of {name!r} are one array, but the file holds several"
                )
            result[str(name)] = _checked(single)
        return result
    return _checked(landmarks)


def _checked(landmarks: Any) -> Landmarks:
    array = np.asarray(landmarks, np.float64)
    if array.shape != (NUMBER,) or not np.all(np.diff(array) >= 0):
        raise ValueError(
            f"landmarks are {NUMBER} ascending numbers, as HistogramStandardization.train returns "
            f"them, and not an array of shape {array.shape}: {landmarks!r}"
        )
    return array


def read(path: str | os.PathLike[str]) -> Landmarks | dict[str, Landmarks]:
    """An ``.npy`` file, or all arrays of an ``.npz`` file by name; nothing in it is run.

    Raises:
        MissingFileError, AccessDeniedError: If the system does not give it.
        FormatError: If it holds no landmarks.
        UnsupportedError: For another suffix (``UNKNOWN_SUFFIX``).
    """
    file = Path(os.path.expanduser(as_local(path_text(path))))
    with naming_errors_of_system(str(file)):
        return _read(file)


def _read(path: Path) -> Landmarks | dict[str, Landmarks]:
    if path.suffix == ".npy":
        with path.open("rb") as file:
            return _array(file, path)
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                return {
                    name.removesuffix(".npy"): _member(archive, name, path)
                    for name in archive.namelist()
                }
        except zipfile.BadZipFile as error:
            raise _no_landmarks(path, error) from error
    raise UnsupportedError(
        f"landmarks are read from .npy and .npz files, and not from {path.name}: files that are "
        "pickled, as .pt and .pth, can run code; save the landmarks with numpy.savez",
        code="UNKNOWN_SUFFIX",
        path=path,
    )


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> Landmarks:
    with archive.open(name) as file:
        return _array(file, path)  # type: ignore[arg-type]


def _array(file: BinaryIO, path: Path) -> Landmarks:
    try:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False), np.float64)
    except ValueError as error:
        raise _no_landmarks(path, error) from error


def _no_landmarks(path: Path, error: Exception) -> FormatError:
    return FormatError(
        f"{path} holds no landmarks: {error}. Save them again: HistogramStandardization.train "
        "writes .npy, numpy.savez writes .npz",
        path=path,
    )


def write(landmarks: Landmarks, path: str | os.PathLike[str]) -> None:
    """Write landmarks as ``.npy``, or as one line of ``.txt``.

    Raises:
        UnsupportedError: For another suffix (``UNKNOWN_SUFFIX``).
    """
    target = Path(os.path.expanduser(local_destination(path)))
    if target.suffix == ".npy":
        with atomic_write(target, overwrite=True) as file:
            np.save(file, landmarks, allow_pickle=False)
    elif target.suffix == ".txt":
        with atomic_write(target, overwrite=True) as file:
            file.write(" ".join(["image", *map(str, landmarks.tolist())]).encode())
    else:
        raise UnsupportedError(
            f"landmarks are written as .npy or .txt, not as {target.name}",
            code="UNKNOWN_SUFFIX",
            path=target,
        )
