"""An image of a subject: whether it belongs to those that were opened before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxarray.source.window import Window
from voxarray.storage.saved_together import OpenedTogether


class SubjectMember:
    """An image that knows which archives were opened as images of its subject."""

    _together: OpenedTogether | None = None
    """Of the subject that it was put into last."""

    if TYPE_CHECKING:
        _window: Window | None

    def _join(self, together: OpenedTogether) -> None:
        """Be one of the images of a subject.

        Raises:
            StateError: If it is open, and was saved by another call than those that are open
                (``SAVED_APART``).
        """
        self._together = together
        if self._window is not None:
            self._of_one_call(self._window)

    def _of_one_call(self, opened: Window) -> Window:
        """The window itself, noted among those of the subject; StateError as `_join`."""
        if self._together is not None:
            saved = getattr(opened.base, "saved_together", None)
            if saved is not None:
                self._together.add(saved)
        return opened
