"""An image of a subject: whether it belongs to those that were opened before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxarray.source.sliced import SlicedSource
from voxarray.storage.saved_together import OpenedTogether


class SubjectMember:
    """An image that knows which archives were opened as images of its subject."""

    _together: OpenedTogether | None = None
    """Of the subject that it was put into last."""

    if TYPE_CHECKING:
        _sliced: SlicedSource | None

    def _join(self, together: OpenedTogether) -> None:
        """Be one of the images of a subject.

        Raises:
            StateError: If it is open, and was saved by another call than those that are open
                (``SAVED_APART``).
        """
        self._together = together
        if self._sliced is not None:
            self._of_one_call(self._sliced)

    def _of_one_call(self, opened: SlicedSource) -> SlicedSource:
        """The sliced source itself, noted among those of the subject; StateError as `_join`."""
        if self._together is not None:
            saved = getattr(opened.base, "saved_together", None)
            if saved is not None:
                self._together.add(saved)
        return opened
