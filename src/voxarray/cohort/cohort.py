"""`Cohort`: thousands of archived scans as a table and as a lazy sequence of subjects."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from voxarray.cohort.catalogue import log
from voxarray.cohort.catalogue import rows as catalogue
from voxarray.cohort.catalogue.absent_images import warn_of_absent, why_absent
from voxarray.cohort.catalogue.member import Member, Part
from voxarray.cohort.catalogue.query import matching
from voxarray.cohort.chosen_names import Several, name_at, several_names
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.archive_names import slug
from voxarray.cohort.run.build import ExecutionOptions
from voxarray.cohort.run.result import CohortResult
from voxarray.core.errors import MissingFileError, UnsupportedError, VoxarrayError
from voxarray.core.html_table import SCROLLS
from voxarray.core.memory import format_bytes
from voxarray.core.names_elsewhere import listed
from voxarray.core.printable import printable
from voxarray.core.progress import ProgressOption
from voxarray.geometry.pyramid_levels import Levels
from voxarray.storage.remote.address import is_url
from voxarray.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

    from voxarray.cohort.mapped import Mapped
    from voxarray.patches import PatchDataset

_SHOWN = 10
_COLUMNS = ("subject", "image", "width", "height", "depth", "spacing_max", "dtype", "labels")


class Cohort(Sequence[Subject]):
    """The subjects in a folder that `convert_cohort` made.

    Opening it reads only the catalogue, which is the table of all images (see `table`).

    Examples:
        >>> import os
        >>> os.makedirs("scans")
        >>> vx.testing.sample().save("scans/a.nii.gz")
        >>> done = vx.convert_cohort("scans", "cohort", progress=False)
        >>> cohort = vx.Cohort("cohort")
        >>> len(cohort.table)  # a row per image, pandas
        1
        >>> thin = cohort.query("spacing_max < 3")
        >>> thin[0].get_images()[0].shape  # a subject of lazy images
        (1, 64, 56, 48)
        >>> done = thin.map(vx.Flip(0)).save("flipped", progress=False)  # another cohort
        >>> len(vx.Cohort("flipped"))
        1

    Args:
        path: Folder that ``voxarray convert SOURCES PATH`` made.

    Raises:
        MissingFileError: If there is no cohort, or it has no catalogue yet (``NO_CATALOGUE``).
        ChecksumError: If the catalogue is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        folder = CohortLayout.of(path)
        if not is_url(folder.root):  # in a bucket each look takes a round trip
            folder.require()
        try:
            rows = catalogue.read(folder)
        except FileNotFoundError:
            folder.require()
            raise MissingFileError(
                f"{folder.root} has no catalogue: run voxarray finalise on it",
                code="NO_CATALOGUE",
                path=folder.catalogue,
            ) from None
        self._set(folder, rows)

    def _set(self, folder: CohortLayout, rows: pd.DataFrame) -> None:
        self._folder, self._table = folder, rows
        self._groups: dict[str, list[int]] | None = None

    @property
    def path(self) -> str:
        """The folder."""
        return self._folder.root

    @property
    def table(self) -> pd.DataFrame:
        """A copy of the catalogue: one row per image, failed images included.

        Columns are ``status``, ``subject``, ``image``, ``kind``, ``archive``, ``labels`` (in the
        archive; of failed images, those planned), shape, spacing (mm, to six significant digits),
        ``orientation``, ``dtype``, ``bytes``, ``minimum`` and ``maximum``, BIDS entities, and facts
        of the acquisition.
        """
        return self._table.copy()

    @property
    def names(self) -> list[str]:
        """Names of the subjects, in order."""
        return list(self._subjects)

    def log(self, subject: str) -> list[dict[str, Any]]:
        """Log of converting the images of a subject, oldest first: one record per event.

        An event is the start or the end of an attempt to convert an image. It has the time, and at
        the end also the duration, the peak memory in bytes, the warnings, and the failure if there
        was one. An image whose header cannot be read is not attempted: its only event is the
        failure, without a time.

        Args:
            subject: Name of the subject.

        Raises:
            KeyError: If the catalogue has no such subject.
        """
        rows = self._table[self._table["subject"] == subject]
        if rows.empty:
            raise KeyError(f"no subject {subject!r} in the cohort {self.path}: see cohort.names")
        slugs = {slug(subject, image) for image in rows["image"]}
        return log.events(self._folder, slugs, complete=bool((rows["status"] == "done").all()))

    def query(self, expression: str) -> Cohort:
        """The cohort of those images that match a condition; subjects without any are left out.

        The text is parsed and never run: it may contain names of columns, texts, numbers,
        comparisons, ``in``, ``and``, ``or`` and ``not``. For other conditions use `where`.

        Args:
            expression: Such as ``"modality == 'MR' and spacing_max < 2"``, ``"subject in ['a']"``
                or ``"'brain' in labels"``; ``images`` names all images and label maps of a subject.
                Names of columns that are no Python identifiers stand in backticks.

        Raises:
            FormatError: If it is not a query (``BAD_QUERY``), or names a column that does not exist
                (``UNKNOWN_COLUMN``).
        """
        return self._with(self._table[matching(self._table, expression)])

    def where(self, rows: Any) -> Cohort:
        """The cohort of those images for which a boolean column, aligned with `table`, is true."""
        return self._with(self._table[rows])

    def map(self, transform: Callable[[Subject], Subject]) -> Mapped:
        """A lazy sequence of the transformed subjects; its ``save`` writes them.

        Args:
            transform: A transform of `voxarray.transforms`, or any function of a subject.

        Raises:
            TypeError: If it cannot be called, is a class, or is a transform of TorchIO.
        """
        from voxarray.cohort.mapped import Mapped

        return Mapped(self, transform)

    def save(
        self,
        destination: str | os.PathLike[str],
        *,
        suffix: str | None = None,
        codec: str | None = None,
        levels: Levels = None,
        chunks: int | None = None,
        zip: bool = False,  # noqa: A002  # what the command line calls it
        workers: int = 0,
        scheduler: str | None = None,
        partition: tuple[int, int] | None = None,
        executor: Executor | None = None,
        overwrite: bool = False,
        mixed: bool = False,
        progress: ProgressOption = None,
    ) -> Cohort | CohortResult:
        """Write the subjects as another cohort, or as files; run it again to resume.

        With a suffix, such as ``".nii.gz"``, every image and label map becomes the file
        ``destination/subject/name.nii.gz``. An existing file is read, and left as it is if
        it has the voxels and the affine that would be written; otherwise it is an error, unless
        ``overwrite`` is true. The affine is not compared if the format cannot hold it.

        Examples:
            >>> import os
            >>> os.makedirs("scans")
            >>> vx.testing.sample().save("scans/a.nii.gz")
            >>> done = vx.convert_cohort("scans", "cohort", progress=False)
            >>> cohort = vx.Cohort("cohort")
            >>> cohort.query("spacing_max < 3").save("niftis", suffix=".nii.gz").converted
            1
            >>> vx.ScalarImage("niftis/a/image.nii.gz").shape
            (1, 64, 56, 48)
            >>> recoded = cohort.save("training", codec="training", progress=False)

        Args:
            destination: Folder of the new cohort, or of the files.
            suffix: Suffix of a file format; None makes a cohort of archives.
            codec: Profile of the archives' codec: one of the profiles that `Image.save` lists.
            levels: Pyramid levels of archives, as `Image.save` has them.
            chunks: Edge of archives' chunks, in voxels.
            zip: One ``.ozx`` file per archive, not a folder.
            workers: Processes on this machine.
            scheduler: Address of a running dask scheduler.
            partition: ``(i, n)``: only part ``i`` of ``n`` of the subjects, ``i`` from 1 to ``n``.
            executor: Any `concurrent.futures.Executor`.
            overwrite: Replace existing archives and files, even those that are up to date.
            mixed: Keep archives that a transform (see `map`) made earlier, for subjects that are
                not saved now. By default, such archives raise an error.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook; or a function of (bytes done, bytes in all).

        Returns:
            The new `Cohort`; for files, or for a partition, a summary of what was done.

        Raises:
            UnsupportedError: For a suffix that cannot be written (``UNKNOWN_SUFFIX``), and for
                options of archives together with a suffix of files (``UNUSED_KEYWORD``).
            FormatError: If archives that a transform made would stay in the folder beside the new
                ones (``OTHER_PIPELINE``).
            VoxarrayError: As `voxarray.convert_cohort`. If images failed, all others are written,
                and the error says how many failed, and why (``SOME_FAILED``).
            KeyboardInterrupt: As `voxarray.convert_cohort`.
            SystemExit: As `voxarray.convert_cohort`.

        Warns:
            VoxarrayWarning: If archives that a transform made were replaced
                (``PIPELINE_REPLACED``). With ``overwrite=True``, there is no warning.
        """
        run = ExecutionOptions(
            workers, scheduler, partition, overwrite=overwrite, executor=executor
        )
        if suffix is None:
            from voxarray.cohort.mapped import Mapped, Unchanged

            return Mapped(self, Unchanged()).save(
                destination,
                codec=codec,
                levels=levels,
                chunks=chunks,
                zip=zip,
                workers=workers,
                scheduler=scheduler,
                partition=partition,
                executor=executor,
                overwrite=overwrite,
                mixed=mixed,
                progress=progress,
            )
        archive_options = {"codec": codec, "levels": levels, "chunks": chunks, "zip": zip or None}
        archive_options["mixed"] = mixed or None
        unused = [f"{name}=" for name, value in archive_options.items() if value is not None]
        if unused:
            raise UnsupportedError(
                f"{', '.join(unused)} would have no effect on {suffix} files: leave out "
                f"{', '.join(unused)}",
                code="UNUSED_KEYWORD",
            )
        from voxarray.cohort.convert import watching
        from voxarray.cohort.export import export

        warn_of_absent(self._table, self.path)
        with watching(progress) as watcher:
            result = export([*map(self.member, self.names)], destination, suffix, run, watcher)
        result.require_all(None)
        return result

    def dataset(self, *args: Any, **kwargs: Any) -> PatchDataset:
        """Patches of the subjects: a `PatchDataset`.

        Args:
            *args: Sampler, and further arguments of `PatchDataset` after the subjects.
            **kwargs: Keywords of `PatchDataset`, such as ``patches_per_image``.
        """
        from voxarray.patches import PatchDataset

        return PatchDataset(self, *args, **kwargs)

    def __len__(self) -> int:
        return len(self._subjects)

    @overload
    def __getitem__(self, index: int | str) -> Subject: ...
    @overload
    def __getitem__(self, index: slice | Several) -> Cohort: ...
    def __getitem__(self, index: int | str | slice | Several) -> Subject | Cohort:
        """A subject by its position or name, with lazy images; for several, a part of the cohort.

        Examples:
            >>> import os
            >>> os.makedirs("scans")
            >>> for name in "abc":
            ...     vx.testing.sample().save(f"scans/{name}.nii.gz")
            >>> done = vx.convert_cohort("scans", "cohort", progress=False)
            >>> cohort = vx.Cohort("cohort")
            >>> cohort[:2].names, cohort[[2, 0]].names, cohort[["b"]].names
            (['a', 'b'], ['c', 'a'], ['b'])

        Args:
            index: A position or a name; a slice of positions; or a list or array of positions or
                names, each subject once.

        Raises:
            IndexError: If there is no such position.
            KeyError: If there is no such name.
            TypeError: For anything else, such as truth values, which `where` takes.
            ValueError: If a list names a subject twice.
        """
        if not isinstance(index, (slice, list, range, np.ndarray)):
            return self.member(name_at(index, self.names)).subject()
        groups = self._subjects
        chosen = several_names(index, self.names)
        for name in chosen:
            if name not in groups:
                self.member(name)  # raises the error
        return self._with(self._table.iloc[[row for name in chosen for row in groups[name]]])

    def member(self, name: str) -> Member:
        """Paths of the archives of a subject, and the names of the label maps in each.

        Raises:
            KeyError: If there is no such name.
        """
        if name not in self._subjects:
            known = f"its subjects are {listed(self._subjects)}{why_absent(self._table, name)}"
            raise KeyError(f"no subject {name!r} in the cohort {self.path}; {known}")
        rows = self._table.iloc[self._subjects[name]].itertuples()
        parts = [Part(row.archive, row.image, row.kind, tuple(row.labels)) for row in rows]
        return Member(self.path, name, tuple(parts))

    def __iter__(self) -> Iterator[Subject]:
        return (self.member(name).subject() for name in self._subjects)

    def __repr__(self) -> str:
        return f"Cohort({self._description()}; path: {self.path!r})"

    def _repr_html_(self) -> str:
        """The first rows with a small picture of each image, for notebooks."""
        columns = [name for name in _COLUMNS if name in self._table]
        rows = self._done.head(_SHOWN)
        # `_cell` escapes the values, which may look like HTML; the pictures are HTML of our own.
        cells = rows[columns].map(_cell)
        cells.insert(0, "", [self._picture(row) for row in rows.itertuples()])
        table = cells.to_html(index=False, escape=False)
        count_left = len(self._done) - len(rows)
        remainder = f"<p>and {count_left:,} more</p>" if count_left else ""
        title = f"<p><b>Cohort</b>: {html.escape(self._description())}</p>"
        return f"<div {SCROLLS}>{title}{table}{remainder}</div>"

    def _picture(self, row: Any) -> str:
        """A thumbnail; or the code of the error, so that the table is shown anyway."""
        from voxarray.cohort.catalogue.thumbnail import thumbnail
        from voxarray.image import LabelMap, ScalarImage

        kind = LabelMap if row.kind == "label" else ScalarImage
        try:
            return thumbnail(kind(os.path.join(self.path, row.archive), verify_path=False))
        except VoxarrayError as error:
            return html.escape(error.code)

    def _description(self) -> str:
        done = self._done
        text = (
            f"{len(self):,} subjects; {len(done):,} images; {format_bytes(int(done.bytes.sum()))}"
        )
        absent = len(self._table) - len(done)
        return f"{text}; {absent:,} without an archive" if absent else text

    @property
    def _done(self) -> pd.DataFrame:
        return self._table[self._table.status == "done"]

    @property
    def _subjects(self) -> dict[str, list[int]]:
        """Numbers of the rows of images with an archive, by subject."""
        if self._groups is None:
            groups: dict[str, list[int]] = {}
            names, statuses = self._table.subject.tolist(), self._table.status.tolist()
            for row, (name, status) in enumerate(zip(names, statuses, strict=True)):
                if status == "done":
                    groups.setdefault(name, []).append(row)
            self._groups = groups
        return self._groups

    def _with(self, rows: pd.DataFrame) -> Cohort:
        part = object.__new__(type(self))
        part._set(self._folder, rows.reset_index(drop=True))
        return part


def _cell(value: Any) -> str:
    """A value as a cell of HTML."""
    if getattr(value, "ndim", 0) or isinstance(value, (list, tuple)):  # labels
        return html.escape(printable(", ".join(map(str, value))))
    return html.escape(f"{value:.3g}" if isinstance(value, float) else printable(str(value)))
