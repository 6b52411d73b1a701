"""Paths in the folder of a cohort."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from voxarray.core.errors import MissingFileError, VoxarrayError
from voxarray.storage.archive_suffixes import FOLDER_SUFFIX, ZIP_SUFFIX
from voxarray.storage.destination import destination_of
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import beginning_of, is_file, names_in, side_by_side
from voxarray.storage.staging_names import is_hidden_staging

PLAN_FORMAT = "voxarray-cohort-plan"


_ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class CohortLayout:
    """The folder of a cohort.

    Attributes:
        root: Absolute path, or URL of a place in a bucket.
    """

    root: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> CohortLayout:
        """The folder at a path, which need not exist yet.

        Raises:
            UnsupportedError: It is a URL of no bucket (``UNSUPPORTED_DESTINATION``).
        """
        return cls(destination_of(path))

    @classmethod
    def around(cls, archive: str) -> CohortLayout | None:
        """The folder whose subjects an archive is among, which may hold no cohort; None elsewhere.

        Args:
            archive: Absolute path without links, or URL.
        """
        root, name = os.path.split(os.path.dirname(archive))
        return cls(root) if name == "subjects" else None

    @property
    def subjects(self) -> str:
        """Folder of the archives."""
        return os.path.join(self.root, "subjects")

    @property
    def staging(self) -> str:
        """Folder of archives under construction."""
        return os.path.join(self.root, "staging")

    @property
    def journal(self) -> str:
        """Folder of the journals."""
        return os.path.join(self.root, "journal")

    @property
    def plan(self) -> str:
        """File of the plan."""
        return os.path.join(self.root, "plan.json")

    @property
    def catalogue(self) -> str:
        """File of the catalogue."""
        return os.path.join(self.root, "catalogue.parquet")

    @property
    def report(self) -> str:
        """File of the report that programs read."""
        return os.path.join(self.root, "report.parquet")

    @property
    def readable_report(self) -> str:
        """File of the report that people read."""
        return os.path.join(self.root, "report.txt")

    @property
    def logs(self) -> str:
        """Folder of the output of jobs, and of the scripts that were submitted."""
        if is_url(self.root):  # jobs need a local folder for their output: the current one
            return os.path.abspath(f"voxarray-{posixpath.basename(self.root)}-logs")
        return os.path.join(self.root, "logs")

    @property
    def pipeline(self) -> str:
        """File of the pipeline that made its images, as it was planned."""
        return os.path.join(self.root, "pipeline.yaml")

    def archive(self, slug: str, zipped: bool) -> str:
        """Path of an archive."""
        return os.path.join(self.subjects, archive_name(slug, zipped))

    def archives(self) -> Iterator[str]:
        """Paths of all existing archives, sorted; in a bucket those that have a manifest."""
        paths = self.candidates()
        if not is_url(self.root):
            yield from paths
            return
        with ThreadPoolExecutor(_ASKED_AT_ONCE, "voxarray-list") as threads:
            for path, is_whole in zip(paths, threads.map(is_archive_there, paths), strict=True):
                if is_whole:
                    yield path

    def candidates(self) -> list[str]:
        """Paths with the name of an archive, sorted; in a bucket some may be incomplete."""
        return self.candidates_among(names_in(self.subjects))

    def candidates_among(self, names: Iterable[str]) -> list[str]:
        """Paths of those of some files and folders of `subjects` with the name of an archive."""
        return [
            os.path.join(self.subjects, name)
            for name in names
            if name.endswith((FOLDER_SUFFIX, ZIP_SUFFIX)) and not is_hidden_staging(name)
        ]

    def is_cohort(self) -> bool:
        """Whether a cohort was planned or made here."""
        has_file = is_file(self.plan) or is_file(self.catalogue)
        return has_file or any(self.archives())

    @property
    def was_made(self) -> bool:
        """Whether voxarray made a cohort here; other programs write a ``plan.json``, too."""
        return any(
            side_by_side(
                self.root,
                lambda: is_file(self.catalogue) and bool(names_in(self.journal)),
                self._has_plan,
            )
        )

    def _has_plan(self) -> bool:
        try:
            return PLAN_FORMAT.encode() in beginning_of(self.plan, 100)
        except (VoxarrayError, OSError):
            return False

    @property
    def results(self) -> tuple[str, ...]:
        """Files and folders of the cohort besides the archives."""
        files = (self.plan, self.pipeline, self.catalogue, self.report, self.readable_report)
        return (*files, self.journal, self.staging, self.logs)

    def require(self) -> None:
        """Raise `MissingFileError` (``NO_COHORT``) unless there is a cohort."""
        if not self.is_cohort():
            raise MissingFileError(
                f"{self.root} holds no cohort (no plan.json, no archives in subjects/): give the "
                "folder that was the DESTINATION of voxarray plan or convert",
                code="NO_COHORT",
                path=self.root,
            )


def archive_name(slug: str, zipped: bool) -> str:
    """File name of an archive."""
    return slug + (ZIP_SUFFIX if zipped else FOLDER_SUFFIX)


def is_archive_there(path: str) -> bool:
    """Whether there is an archive, or another file of that name, which must not be replaced."""
    if not is_url(path):
        return os.path.lexists(path)
    from voxarray.archive.manifest import KEY  # takes 5 ms, and is needed for buckets only

    return is_file(path if path.endswith(ZIP_SUFFIX) else f"{path}/{KEY}")
