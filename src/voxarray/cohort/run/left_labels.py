"""Label maps that a cohort does not take with their images, or not as OME-Zarr requires them."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.archive.whole_values import FLOAT_LABELS_ADVICE
from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.task import Result
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.progress import Progress

_ADVICE = {
    "LABELS_LEFT": (
        ". To convert label maps of archives, too, name them in a table of images "
        "(--label-column), such as scan.ome.zarr/labels/NAME, or add them to the new archives "
        "(voxarray add-labels)"
    ),
    "FLOAT_LABELS": f": {FLOAT_LABELS_ADVICE}",
}
"""What is said at the end, by the code of the warnings of single images."""


class LeftLabels(ProgressListener):
    """Collects what is said of label maps of single images, and passes progress on.

    The journal holds it for each image, and nobody reads that of a run without failures.
    """

    def __init__(self, listener: ProgressListener) -> None:
        self._listener = listener
        self._texts: dict[str, list[str]] = {code: [] for code in _ADVICE}

    def start(self, items: Sequence[Item]) -> None:
        self._listener.start(items)

    def begin(self, item: Item) -> Progress | None:
        return self._listener.begin(item)

    def end(self, result: Result) -> None:
        if result.status == "converted":
            for code, texts in self._texts.items():
                texts += [text for text in result.remarks if text.startswith(f"{code}:")]
        self._listener.end(result)

    def planned(self, done: int, total: int) -> None:
        self._listener.planned(done, total)

    def warn(self) -> None:
        """Warn once of each kind, with an example (``LABELS_LEFT``, ``FLOAT_LABELS``)."""
        for code, texts in self._texts.items():
            if texts:
                example = min(texts).removeprefix(f"{code}: ").partition(": ")[0]
                more = f", and the same holds for {len(texts) - 1} more" if len(texts) > 1 else ""
                warn_by_code(code, f"{example}{more}{_ADVICE[code]}")
