"""What a transform makes of every subject of a cohort: a lazy sequence, or another cohort."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from voxarray.cohort.catalogue.absent_images import warn_of_absent
from voxarray.cohort.catalogue.pipelines import refuse_other_pipelines
from voxarray.cohort.convert import watching
from voxarray.cohort.enclosing import refuse_cohort_among_results
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.mapped_items import items_of
from voxarray.cohort.mapped_keys import MappedKeys
from voxarray.cohort.mapped_opener import MappedOpener, TransformLike
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.archive_names import text_digest
from voxarray.cohort.plan.changed_options import given
from voxarray.cohort.plan.described import described, description_digest
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.part import read_part
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.plan.planning import require_same_form
from voxarray.cohort.plan.previous import previous_plan, put_in_place
from voxarray.cohort.run.build import ExecutionOptions, execute
from voxarray.cohort.run.plan_states import check_changed_options
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.unchanged import Unchanged as Unchanged
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, VoxarrayWarning
from voxarray.core.function_arguments import require_transform
from voxarray.core.html_table import html_table
from voxarray.core.progress import ProgressOption
from voxarray.core.transform_misfits import naming_misfits
from voxarray.geometry.pyramid_levels import Levels
from voxarray.storage.small_files import (
    is_file,
    make_folder,
    real_path,
    remove_file,
    write_if_other,
)
from voxarray.subject import Subject
from voxarray.transforms.pipeline_file import entries_of, to_text

if TYPE_CHECKING:
    from voxarray.cohort.chosen_names import Several
    from voxarray.cohort.cohort import Cohort
    from voxarray.patches import PatchDataset


class Mapped(Sequence[Subject]):
    """The transformed subjects of a cohort, lazily.

    Args:
        cohort: The subjects.
        transform: A transform of `voxarray.transforms`, or any function of a subject.

    Raises:
        TypeError: If it cannot be called, is a class, or is a transform of TorchIO.
    """

    def __init__(self, cohort: Cohort, transform: TransformLike) -> None:
        require_transform(transform)
        self.cohort, self.transform = cohort, transform

    def __len__(self) -> int:
        return len(self.cohort)

    @overload
    def __getitem__(self, index: int | str) -> Subject: ...
    @overload
    def __getitem__(self, index: slice | Several) -> Mapped: ...
    def __getitem__(self, index: int | str | slice | Several) -> Subject | Mapped:
        """A transformed subject by its position or name; for several, as of `Cohort`, a part.

        Raises:
            FormatError: If a transform of voxarray does not fit it (``CANNOT_TRANSFORM``).
        """
        chosen = self.cohort[index]
        if isinstance(chosen, Subject):
            return self._transformed(chosen)
        return Mapped(chosen, self.transform)

    def __iter__(self) -> Iterator[Subject]:
        return map(self._transformed, self.cohort)

    @property
    def names(self) -> list[str]:
        """Names of the subjects, in order, as of `Cohort`."""
        return self.cohort.names

    def _transformed(self, subject: Subject) -> Subject:
        images = subject.get_images(intensity_only=False)
        path = next((str(image.path) for image in images if image.path is not None), None)
        with naming_misfits(path):
            return self.transform(subject)

    def _repr_html_(self) -> str:
        """A table for notebooks; nothing is computed for it."""
        facts = {"subjects": str(len(self)), "of": repr(self.cohort), "by": repr(self.transform)}
        return html_table("Mapped", facts)

    def __repr__(self) -> str:
        return f"Mapped({self.transform!r} of {self.cohort!r})"

    def map(self, transform: TransformLike) -> Mapped:
        """The same subjects with another transform applied after the first."""
        return Mapped(self.cohort, Chain((self.transform, transform)))

    def dataset(self, *args: Any, **kwargs: Any) -> PatchDataset:
        """Patches of the transformed subjects, computed as they are drawn; see `Cohort.dataset`.

        Saving them first is faster, unless each patch is drawn about once.
        """
        from voxarray.patches import PatchDataset

        return PatchDataset(self, *args, **kwargs)

    def save(
        self,
        destination: str | os.PathLike[str],
        *,
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
        options: ArchiveOptions | None = None,
        run: ExecutionOptions | None = None,
        watcher: ProgressListener | None = None,
    ) -> Cohort | CohortResult:
        """Write the transformed subjects as another cohort; run it again to resume.

        Archives are up to date, and not made again, if their inputs, transform and options are the
        same. Label maps that were added to archives of the cohort, corrected or removed count as
        inputs. A function is no longer the same if its code has changed, or if something that it
        uses has changed: functions and classes of the same module, numbers, texts, arrays. A
        transform of a class of your own is no longer the same if the code of its methods, or an
        attribute, has changed. Changes are not noticed in functions of other modules, nor in the
        contents of lists, dicts and other objects that a function uses.

        Archives of the same subjects that another transform made are replaced, and a warning says
        how many. To keep them, choose another folder.

        Args:
            destination: Folder of the new cohort.
            codec: Profile of the archives' codec: one of the profiles that `Image.save` lists.
            levels: Pyramid levels, as `Image.save` has them.
            chunks: Edge of chunks, in voxels.
            zip: One ``.ozx`` file per image, not a folder.
            workers: Processes on this machine; the transform must then be one that can be pickled,
                as for ``scheduler`` and ``executor``.
            scheduler: Address of a running dask scheduler.
            partition: ``(i, n)``: only part ``i`` of ``n`` of the subjects, ``i`` from 1 to ``n``.
            executor: Any `concurrent.futures.Executor`, or an executor of submitit.
            overwrite: Replace existing archives, even those that are up to date.
            mixed: Allow the folder to hold, for subjects that are not saved now, archives that
                another transform made. By default, such archives raise an error. The column
                ``pipeline_digest`` of the catalogue tells the transforms apart.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook; or a function of (bytes done, bytes in all).
            options: Deprecated: use the keywords.
            run: Deprecated: use the keywords.
            watcher: Deprecated: use ``progress``.

        Returns:
            The new `Cohort`; for a partition, which has no catalogue yet, a summary of what was
            done.

        Raises:
            FormatError: If archives of another pipeline would stay in the folder beside the new
                ones (``OTHER_PIPELINE``).
            VoxarrayError: As `voxarray.convert_cohort`. If images failed, all others are written,
                and the error says how many failed (``SOME_FAILED``) and where the report is. If
                no worker started, its error says why (``NO_MAIN_GUARD``, ``NO_WORKERS``).
            KeyboardInterrupt: As `voxarray.convert_cohort`.
            SystemExit: As `voxarray.convert_cohort`.

        Warns:
            VoxarrayWarning: Archives that another pipeline had made were replaced
                (``PIPELINE_REPLACED``); not with ``overwrite=True``, which asks for it.
        """
        if options is not None or run is not None or watcher is not None:
            text = (
                "options=, run= and watcher= of save() will be removed in the next release: use "
                "the other keyword arguments of save()"
            )
            warn_caller(text, DeprecationWarning)
        options = options or ArchiveOptions(levels, chunks, codec, zip)
        run = run or ExecutionOptions(
            workers, scheduler, partition, overwrite=overwrite, executor=executor
        )
        with nullcontext(watcher) if watcher is not None else watching(progress) as listener:
            done = self.make(destination, options, run, listener, mixed=mixed)
        if done.replaced and not run.overwrite:
            with done.hiding_no_interrupt():
                warn_caller(
                    f"PIPELINE_REPLACED: {done.replaced_told}. "
                    f"{CohortLayout.of(destination).root} now holds the results of this pipeline. "
                    "To keep the results of both pipelines, choose another folder for one of them. "
                    "To replace results without this warning, pass overwrite=True",
                    VoxarrayWarning,
                )
        done.require_all(CohortLayout.of(destination))
        if run.partition is not None:
            return done
        return type(self.cohort)(destination)

    def make(
        self,
        destination: str | os.PathLike[str],
        options: ArchiveOptions,
        run: ExecutionOptions,
        watcher: ProgressListener,
        *,
        mixed: bool = False,
    ) -> CohortResult:
        """Like `save`, but returns a summary, also if some images failed."""
        folder = CohortLayout.of(destination)
        if run.partition is not None and is_file(folder.plan):
            plan = self._part_of_plan(folder, options, run.partition)
        else:
            plan = self.freeze(folder, options, watcher, mixed=mixed, overwrite=run.overwrite)
            if run.partition is not None:
                plan = replace(plan, items=tuple(plan.part(*run.partition)))
        openers = {
            item.slug: MappedOpener(self.cohort.member(item.subject), self.transform)
            for item in plan.items
        }
        return execute(
            plan,
            lambda item: openers[item.slug],
            destination,
            options,
            run,
            watcher,
            overlapping=False,
        )

    def plan(
        self,
        destination: str | os.PathLike[str],
        *,
        codec: str | None = None,
        levels: int | None = None,
        chunks: int | None = None,
        zip: bool = False,  # noqa: A002  # what the command line calls it
        mixed: bool = False,
        progress: ProgressOption = None,
    ) -> str:
        """Write a plan of what `save` will do, for runs of `save` that each do one part.

        With the plan, a part reads the headers of its own images only. Without it, each part looks
        at all subjects first, and makes the same plan.

        Args:
            destination: Folder of the new cohort.
            codec: The same as in `save`.
            levels: The same as in `save`.
            chunks: The same as in `save`.
            zip: The same as in `save`.
            mixed: As in `save`. If it is given here, the runs of `save` do not need it.
            progress: As in `save`.

        Returns:
            A summary of the plan, in a few lines.

        Raises:
            FormatError: If the folder holds a cohort of other sources (``OTHER_SOURCE``), or
                archives of another pipeline would stay in it (``OTHER_PIPELINE``).
            ArchiveError: If writing fails.
        """
        folder = CohortLayout.of(destination)
        options = ArchiveOptions(levels, chunks, codec, zip)
        with watching(progress) as listener:
            plan = self.freeze(folder, options, listener, mixed=mixed)
        return plan.summary()

    @property
    def _origin(self) -> str:
        return text_digest(f"cohort\0{real_path(self.cohort.path)}")

    def _refuse_other(self, origin: str, folder: CohortLayout) -> None:
        if origin != self._origin:
            raise FormatError(
                f"{folder.root} holds a cohort that was not made from {self.cohort.path}: choose "
                "another folder, or, if the same cohort has moved, delete plan.json in this folder",
                code="OTHER_SOURCE",
            )

    def _part_of_plan(
        self, folder: CohortLayout, options: ArchiveOptions, part: tuple[int, int]
    ) -> Plan:
        """The items of one part; no other items are read.

        Raises:
            FormatError: If they were planned with other archives or another transform
                (``STALE_PLAN``).
        """
        plan = read_part(folder.plan, *part)
        self._refuse_other(plan.origin, folder)
        description = described(self.transform)
        for item in plan.items:
            if plan.options != options.digest() or item.key != self._key(
                item, description, options
            ):
                raise FormatError(
                    f"the plan in {folder.root} is outdated: since it was made, archives or label "
                    "maps of the source cohort were added, corrected or removed, or the transform "
                    "or the options changed. Make the plan again, then the parts. On the command "
                    "line, the same command with --slurm N in place of --partition makes the plan "
                    "(and prints a job script); in Python, plan() of the mapped cohort does. "
                    "Without --partition, one run needs no plan",
                    code="STALE_PLAN",
                    path=folder.plan,
                )
        return plan

    def _key(self, item: Item, description: Any, options: ArchiveOptions) -> str | None:
        """Key of an item as it would be planned now; None if its subject is gone."""
        try:
            member = self.cohort.member(item.subject)
        except KeyError:
            return None
        keys = MappedKeys.now(member, self.transform, description, options.digest())
        return keys.of_item(item)

    def freeze(
        self,
        folder: CohortLayout,
        options: ArchiveOptions,
        watcher: ProgressListener,
        *,
        mixed: bool = False,
        overwrite: bool = False,
    ) -> Plan:
        """Make the plan of all subjects, and write it."""
        if folder.root == self.cohort.path:
            raise FormatError(
                f"{folder.root} is the cohort itself: choose another folder", code="OTHER_SOURCE"
            )
        refuse_cohort_among_results(folder)
        previous = previous_plan(folder)
        if previous is not None:
            self._refuse_other(previous.origin, folder)
            require_same_form(previous, options)
        warn_of_absent(self.cohort.table, self.cohort.path)
        items: list[Item] = []
        description = described(self.transform)
        for number, name in enumerate(self.cohort.names):
            items += items_of(self.cohort.member(name), self.transform, description, options)
            watcher.planned(number + 1, len(self))
        items.sort(key=lambda item: item.slug)
        of = self._origin, options.digest(), options.zipped, mixed, given(options)
        plan = Plan(tuple(items), *of)
        if not mixed:
            refuse_other_pipelines(folder, plan, description_digest(description))
        if not overwrite:
            check_changed_options(plan, previous, folder, options, refusing=True)
        make_folder(folder.root)
        put_in_place(folder, plan, previous)
        self._keep_pipeline(folder)
        return plan

    def _keep_pipeline(self, folder: CohortLayout) -> None:
        """Write the pipeline for the jobs that read it; functions cannot be written."""
        try:
            text = to_text(entries_of([self.transform]))
        except FormatError:
            remove_file(folder.pipeline)
            return
        write_if_other(folder.pipeline, text.encode())


@dataclass(frozen=True, slots=True)
class Chain:
    """One transform after the other.

    Attributes:
        transforms: In order.
    """

    transforms: tuple[TransformLike, ...]

    def __call__(self, subject: Subject) -> Subject:
        for transform in self.transforms:
            subject = transform(subject)
        return subject
