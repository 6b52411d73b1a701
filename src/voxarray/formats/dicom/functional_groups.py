"""What a header says of one plane: its own group, else the shared one, else the file as a whole.

Enhanced multi-frame files keep most elements in functional groups (DICOM PS3.3, C.7.6.16), one
sequence of one item per subject, for all frames or for each. Classic files have neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxarray.formats.dicom.elements import Elements


@dataclass(frozen=True, slots=True)
class Groups:
    """Places where an element of a plane may stand, the most particular first.

    Attributes:
        per_frame: The item of the plane in the per-frame groups.
        shared: The shared groups.
        dataset: The data set of the file.
    """

    per_frame: Elements
    shared: Elements
    dataset: Elements

    def holder(self, tag: int, *sequences: int) -> Elements:
        """The elements that hold ``tag``, within one of the sequences or of the file itself."""
        for elements in (self.per_frame, self.shared):
            for sequence in sequences:
                item = elements.item(sequence)
                if tag in item:
                    return item
        return self.dataset

    def inner(self, outer: int, sequence: int) -> Elements:
        """The item of a sequence in the item of a functional group."""
        return self.holder(sequence, outer).item(sequence)

    def text(self, tag: int, *sequences: int) -> str:
        """First value of an element of text."""
        return self.holder(tag, *sequences).text(tag)

    def texts(self, tag: int, *sequences: int) -> tuple[str, ...]:
        """Values of an element of text."""
        return self.holder(tag, *sequences).texts(tag)

    def numbers(self, tag: int, *sequences: int) -> tuple[float, ...]:
        """Values of an element of numbers."""
        return self.holder(tag, *sequences).numbers(tag)

    def number(self, tag: int, *sequences: int) -> float | None:
        """First value of an element of numbers."""
        return self.holder(tag, *sequences).number(tag)
