"""An image as far as its header goes: fields, geometry, and a window on a source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.core.history import History
from voxarray.core.keys import AFFINE, RESERVED, TYPE, require_free
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape4
from voxarray.image._arguments import affine_argument
from voxarray.image._geometry import Geometry
from voxarray.image._origin import OnePath, Origin
from voxarray.image._record import Record
from voxarray.source.window import Window


class Opened(Geometry, Record):
    """Fields in a dict, and one window on a source, made when it is first needed.

    Whoever makes one sets `_origin`, or `_window`, and stores the fields ``path``, ``stem`` and
    ``type``. The field ``affine`` is there once it is known without opening a file.

    Facts of the acquisition that the file's header states are found by ``image["modality"]``, which
    opens the file if need be, like ``image["affine"]``. They are the header's, not fields: what
    ``dict(image)``, ``in``, ``get`` and iteration show depends on nobody having looked. They become
    fields where the file no longer backs the image, as after `set_data`.
    """

    _origin: Origin | None = None
    _window: Window | None = None

    @property
    def shape(self) -> Shape4:
        """Shape (C, W, H, D)."""
        return self._backing.shape

    @property
    def grid(self) -> Grid:
        """Where the voxels are: shape (W, H, D) and affine, as one value."""
        return self._backing.grid

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm of voxel centres; read-only, but another can be set."""
        affine: NDArray[np.float64] | None = self.get(AFFINE)
        return self._backing.affine if affine is None else affine

    @affine.setter
    def affine(self, affine: Any) -> None:
        place = affine_argument(affine)
        if self._window is not None:
            self._window = self._window.with_affine(place)
        self._store(AFFINE, place)

    @property
    def history(self) -> History:
        """What was done to the voxels, oldest first: transforms, slices, and what the archive
        says.

        Each entry has the keys ``operation``, ``arguments`` and ``version``; `voxarray.replay`
        makes the voxels again from what they were before.
        """
        return self._backing.history

    @property
    def type(self) -> str:
        """`INTENSITY`, `LABEL`, `SAMPLING_MAP` or another name."""
        return str(self[TYPE])

    @property
    def path(self) -> OnePath | list[OnePath] | None:
        """Where the image comes from; None for data in memory."""
        return None if self._origin is None else self._origin.path

    def __missing__(self, key: str) -> Any:
        if key == AFFINE:
            return self.affine
        if key not in RESERVED and (self._window is not None or self._origin is not None):
            return self._backing.metadata[key]
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == AFFINE:
            self.affine = value
            return
        require_free(key)
        self._store(key, value)

    def __delitem__(self, key: str) -> None:
        if key in RESERVED:
            raise StateError(
                f'"{key}" cannot be removed from an image; unload() forgets the tensor',
                code="RESERVED_KEY",
            )
        super().__delitem__(key)

    @property
    def _backing(self) -> Window:
        """What the voxels are read from, whatever the tensor; opens the file at first access."""
        window = self._window
        if window is None:
            if self._origin is None:
                raise StateError("the image has neither a path nor voxels", code="EMPTY")
            window = Window.of(self._origin.open())
            affine = self.get(AFFINE)
            # Two threads may both come here; they make equal windows, and either will do.
            self._window = window = window if affine is None else window.with_affine(affine)
        return window

    def _keep_facts(self, window: Window) -> None:
        """Make fields of the facts that the header states and a new window does not."""
        if self._window is not None and self._window.base is not window.base:
            for key, value in self._window.metadata.items():
                if key not in window.metadata and key not in self:
                    self._store(key, value)

    def _store(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
