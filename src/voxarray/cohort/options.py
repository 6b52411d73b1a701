"""How the archives of a cohort are made, and which inputs belong together."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from voxarray.archive.options import Options
from voxarray.core.sent_records import SentRecord
from voxarray.geometry.pyramid_levels import Levels

LAYOUT_VERSION = 1
"""Version of the result of a conversion; with another number, all archives are made again."""


@dataclass(frozen=True, slots=True)
class ArchiveOptions(SentRecord):
    """Options that all archives of a cohort share.

    Attributes:
        levels: Pyramid levels, as in `voxarray.archive.options.Options`.
        chunk: Edge of a chunk in voxels; None takes that of the codec's profile.
        codec: Profile of the codec; None takes the default for images and for label maps.
        zipped: Whether each archive is one ``.ozx`` file.
        labels_only: Whether the images are label maps.
        keep_metadata: Names of header fields, of columns of a manifest or of
            ``participants.tsv`` that the catalogue keeps, though they may name a patient.
    """

    levels: Levels = None
    chunk: int | None = None
    codec: str | None = None
    zipped: bool = False
    labels_only: bool = False
    keep_metadata: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Options(levels=self.levels, chunk=self.chunk, codec=self.codec)  # refuses what is wrong

    def of_archive(self, staging: str | None, overwrite: bool) -> Options:
        """The options for the conversion of one image."""
        return Options(self.levels, self.chunk, self.codec, overwrite, staging)

    def digest(self) -> str:
        """Digest that changes if other options make other archives."""
        content = {**asdict(self), "version": LAYOUT_VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class InputSelection:
    """Which files or columns are images, which are label maps, and which belong together.

    Attributes:
        image_patterns: Pairs of a name and a pattern of paths below the source, such as
            ``("t1", "**/*_t1.nii.gz")``; what ``*`` (or ``{subject}``) stands for is the
            subject.
        label_patterns: Such pairs of label maps.
        image_columns: Columns of a manifest that hold paths of images; the name of a column
            becomes the name of the image.
        label_columns: Columns of a manifest that hold paths of label maps.
        subject_column: Column of a manifest that names the subject.
    """

    image_patterns: tuple[tuple[str, str], ...] = ()
    label_patterns: tuple[tuple[str, str], ...] = ()
    image_columns: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    subject_column: str | None = None

    def digest(self) -> str:
        """Digest that changes if other files or columns are chosen; patterns may name a patient."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]
