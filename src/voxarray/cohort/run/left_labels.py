"""Label maps in archives among the sources, which a cohort does not take with their images."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.task import Result
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.progress import Progress

_CODE = "LABELS_LEFT"


class LeftLabels(ProgressListener):
    """Collects what is said of label maps that stay behind, and passes progress on.

    The journal holds it for each image, and nobody reads that of a run without failures.
    """

    def __init__(self, listener: ProgressListener) -> None:
        self._listener, self._left = listener, list[str]()

    def start(self, items: Sequence[Item]) -> None:
        self._listener.start(items)

    def begin(self, item: Item) -> Progress | None:
        return self._listener.begin(item)

    def end(self, result: Result) -> None:
        if result.status == "converted":
            self._left += [text for text in result.remarks if text.startswith(f"{_CODE}:")]
        self._listener.end(result)

    def planned(self, done: int, total: int) -> None:
        self._listener.planned(done, total)

    def warn(self) -> None:
        """Warn once, with an example (``LABELS_LEFT``)."""
        if not self._left:
            return
        example = min(self._left).removeprefix(f"{_CODE}: ").partition(": ")[0]
        more = f", and so for {len(self._left) - 1} more" if len(self._left) > 1 else ""
        warn_by_code(
            _CODE,
            f"{example}{more}. To take label maps of archives along, name them in a table of "
            "images (--label-column), such as scan.ome.zarr/labels/NAME, or add them to the new "
            "archives (voxarray add-labels)",
        )
