"""Files of any other format behind a URL, read from a local copy."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import MissingFileError, UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, VoxelStream, digest
from voxarray.storage.local_copies import COPIES
from voxarray.storage.remote.file import RemoteFile

_MAX_OPENED = 64

_lock = threading.Lock()
_opened: OrderedDict[str, Source] = OrderedDict()


@dataclass(frozen=True, eq=False)
class DownloadedSource(Source):
    """An image whose file is copied when it is opened, and again where its copy was dropped.

    Attributes:
        file: The remote file.
        open_copy: Opens a local file of any format (`voxarray.formats.registry.open_source`).
        number: Level of its pyramid.
        is_scaled: Whether `read` applies its slope and intercept.
    """

    file: RemoteFile
    open_copy: Callable[[str], Source]
    number: int = 0
    is_scaled: bool = True

    @classmethod
    def open(cls, file: RemoteFile, open_copy: Callable[[str], Source]) -> DownloadedSource:
        """Copy the file and read its header.

        Raises:
            UnsupportedError: Its voxels are in other files (``REMOTE_PARTS``), or it is larger
                than the cache (``TOO_LARGE``).
        """
        source = cls(file, open_copy)
        try:
            _ = source._facts.shape
        except MissingFileError as error:
            raise UnsupportedError(
                f"{file.path} needs other files beside it ({error.message}): download them into "
                "one folder and open it there",
                code="REMOTE_PARTS",
                path=file.path,
            ) from error
        return source

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def shape(self) -> Shape4:
        return self._facts.shape

    @property
    def dtype(self) -> np.dtype:
        return self._facts.dtype

    @property
    def affine(self) -> NDArray[np.float64]:
        return self._facts.affine

    @property
    def chunks(self) -> Shape4:
        return self._facts.chunks

    @property
    def channels(self) -> Channels:
        return self._facts.channels

    @property
    def scaling(self) -> Scaling | None:
        return self._facts.scaling

    @property
    def nifti_header(self) -> bytes | None:
        return self._facts.nifti_header

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self._facts.metadata

    @property
    def levels(self) -> int:
        return self._facts.levels

    @property
    def bytes_on_disk(self) -> int:
        return self.file.size

    def level(self, number: int) -> DownloadedSource:
        if number:
            self._facts.level(number)  # refuses what is not there
        return replace(self, number=number)

    def unscaled(self) -> DownloadedSource:
        return replace(self, is_scaled=False)

    def read(self, selection: Selection) -> NDArray:
        with COPIES.held(self.file) as path, self.file.named_in_errors():
            return self._local(path).read(selection)

    def stream(self) -> VoxelStream:
        with COPIES.held(self.file) as path, self.file.named_in_errors():
            return self._local(path).stream()

    def token(self) -> str:
        return digest("downloaded", self.file.identity, self.number, self.is_scaled)

    @property
    def _facts(self) -> Source:
        """The local source, for what its header says."""
        with COPIES.held(self.file) as path, self.file.named_in_errors():
            return self._local(path)

    def _local(self, path: str) -> Source:
        source = self._opened_copy(path)
        if self.number:
            source = source.level(self.number)
        return source if self.is_scaled else source.unscaled()

    def _opened_copy(self, path: str) -> Source:
        """The source of a copy, whose name no other copy ever has."""
        with _lock:
            source = _opened.get(path)
        if source is not None:
            return source
        source = self.open_copy(path)
        with _lock:
            _opened[path] = source
            while len(_opened) > _MAX_OPENED:
                _opened.popitem(last=False)
        return source
