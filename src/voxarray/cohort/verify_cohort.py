"""Whether a cohort is what was written, complete, and what it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from voxarray.archive.verify import Examination, Problem, compare, examine
from voxarray.cohort.absent_archives import how_again, is_computed, missing
from voxarray.cohort.catalogue import parquet
from voxarray.cohort.catalogue.entry import Entry, entry_of
from voxarray.cohort.catalogue.finalise import last_failures
from voxarray.cohort.catalogue.namesakes import CODE, Places, namesakes
from voxarray.cohort.catalogue.pipelines import pipeline_of
from voxarray.cohort.catalogue.staleness import Listing, stale
from voxarray.cohort.discover.archives import holdings
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opened_inputs import FileOpener
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.lost_additions import additions
from voxarray.core.errors import AccessDeniedError, MissingFileError, VoxarrayError
from voxarray.core.progress import Progress
from voxarray.storage.saved_together import SavedTogether, apart
from voxarray.storage.small_files import is_file


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with one archive, or with the plan or catalogue of a cohort.

    Attributes:
        name: Its file name in a cohort, or else its path.
        problems: None if it is whole.
        notes: What is to be known of it, and no problem.
        files: How many an archive has.
        bytes: Of these.
    """

    name: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0

    @classmethod
    def of(
        cls,
        name: str,
        examination: Examination,
        problems: Sequence[Problem],
        notes: Sequence[str] = (),
    ) -> Verdict:
        """The verdict on an archive that was examined, and perhaps compared."""
        return cls(
            name,
            tuple(problems),
            (*examination.notes, *notes),
            examination.files,
            examination.bytes,
        )


def verify_cohort(
    destination: str | os.PathLike[str],
    *,
    quick: bool = False,
    locations: Mapping[str, str] | None = None,
    begin: Callable[[str], Progress] | None = None,
) -> Iterator[Verdict]:
    """Check every archive of a cohort, and that all that were planned are there.

    Args:
        destination: Folder of the cohort.
        quick: Look at names and sizes alone, at no content but the manifests.
        locations: Where the sources are, by what the user calls them: compare voxel by voxel.
        begin: Called with the name of an archive; gives what to call with bytes done and in all.

    Raises:
        MissingFileError: If there is no cohort.
    """
    folder = CohortLayout.of(destination)
    folder.require()
    expected, pipelines, listing, unreadable = _wanted(folder)
    yield from unreadable
    try:
        archives = list(folder.archives())
    except AccessDeniedError as error:
        name = os.path.basename(folder.subjects)
        yield Verdict(name, (Problem(error.code, name, error.message),))
        return
    if archives and not is_file(folder.catalogue):
        yield _without_catalogue(folder)
    names = {os.path.basename(path) for path in archives}
    missing_names = listing.others(names | expected.keys()) if listing is not None else set[str]()
    unlisted = []
    images_by_name: Places = {}
    for path in archives:
        name = os.path.basename(path)
        progress = begin(name) if begin is not None else None
        examination = _examined(path, progress, quick)
        problems = examination.problems
        item = expected.pop(name, None)
        entry = None if problems else entry_of(path)
        if not problems and isinstance(item, Item):
            problems += _of_plan(entry, item, path)
        notes = []
        if entry is not None and item is None and pipelines is not None:
            pipeline_problems = pipelines.examine(entry)
            notes = (
                [_ON_PURPOSE] if pipeline_problems and pipelines.mixed else pipelines.notes(entry)
            )
            problems += [] if pipelines.mixed else pipeline_problems
        if not problems and locations is not None:
            problems += _of_sources(path, item, locations, progress)
        if not problems and entry is not None and listing is not None:
            unlisted += [] if listing.has(name, entry) else [path]
        if entry is not None:  # at last, for it says nothing of the archive's own bytes
            found_twice = namesakes(name, entry, images_by_name)
            problems += [
                Problem(CODE, str(namesake.second), str(namesake)) for namesake in found_twice
            ]
        yield Verdict.of(name, examination, _mendable_alone(problems), notes)
    yield from _of_catalogue(folder, unlisted, missing_names)
    failures = last_failures(folder) if expected else {}
    for name, item in sorted(expected.items()):
        yield Verdict(name, (missing(item, failures),))


def _mendable_alone(problems: Sequence[Problem]) -> list[Problem]:
    """The problems of an archive of a cohort; the first that advises ``--overwrite`` says more.

    For a cohort, that option would cost the additions to all archives, to mend one.
    """
    advising = next((one for one in problems if "--overwrite" in one.message), None)
    return [
        replace(one, message=one.message + _ALONE) if one is advising else one for one in problems
    ]


_ALONE = (
    ". The option --overwrite makes ALL archives of the cohort again, without label maps and notes "
    "that were added to any of them"
)


def verify_below(
    paths: Sequence[str | os.PathLike[str]],
    *,
    quick: bool = False,
    begin: Callable[[str], Progress] | None = None,
) -> Iterator[Verdict]:
    """Check all archives and cohorts at some paths and below them, at any depth, each once.

    Of each cohort, all that was planned must be there, as `verify_cohort` has it.

    Args:
        paths: Archives, cohorts, or folders of these.
        quick: Compare only names and sizes.
        begin: Called with the name of an archive, gives what to call with bytes done and in all.

    Yields:
        Verdicts under whole paths. A folder that holds nothing to verify has a problem, too
        (``NOTHING_FOUND``).
    """
    contents = holdings(paths)
    for path in contents.barren:
        text = "holds no archive and no cohort, at any depth: check the path"
        yield Verdict(path, (Problem("NOTHING_FOUND", path, text),))
    for error in contents.refused:
        yield refused(error)
    for cohort in contents.cohorts:
        for verdict in verify_cohort(cohort.root, quick=quick, begin=begin):
            parent = cohort.root if verdict.name in _BESIDE else cohort.subjects
            yield replace(verdict, name=os.path.join(parent, verdict.name))
    together: dict[str, list[SavedTogether]] = {}
    for archive in contents.archives:
        progress = begin(os.path.basename(archive)) if begin is not None else None
        examination = _examined(archive, progress, quick)
        problems = list(examination.problems)
        saved = SavedTogether.parse(archive, examination.source)
        if saved is not None:
            beside = together.setdefault(saved.folder, [])
            other = next(filter(saved.conflicts, beside), None)
            if other is not None:
                error = apart(other, saved)
                problems.append(Problem(error.code, other.name, error.message))
            beside.append(saved)
        yield Verdict.of(archive, examination, problems)


def _examined(path: str, progress: Progress | None, quick: bool) -> Examination:
    """Problems of an archive; also what keeps it from being looked at, which stops no other."""
    try:
        return examine(path, progress, quick=quick)
    except (VoxarrayError, OSError) as error:
        failure = failure_of(error, path, {})
        return Examination([Problem(failure.code, path, failure.message)])


def refused(error: VoxarrayError) -> Verdict:
    """The verdict on a folder that may not be read: nobody knows what is in it."""
    path = error.path or ""
    return Verdict(path, (Problem(error.code, path, error.message),))


_BESIDE = ("plan.json", "catalogue.parquet", "subjects")

Wanted = dict[str, Item | str]
"""Items of a plan, or, without a plan, sources as the catalogue names them; by file name."""


_UNPLANNED = "not in the plan any more: a source was removed, renamed or left out"
_ON_PURPOSE = "of another pipeline than the plan's, and kept on purpose (--mixed, mixed=True)"
"""Notes of archives."""


@dataclass(frozen=True, slots=True)
class _Pipelines:
    """What a plan says of the archives that it does not name.

    Attributes:
        planned: Digests of its pipelines: one; None is that of images that were only converted.
        mixed: Whether archives of others are there on purpose.
    """

    planned: frozenset[str | None]
    mixed: bool

    def examine(self, entry: Entry) -> list[Problem]:
        """The problem of an archive that another pipeline made."""
        if not self.planned or pipeline_of(entry.facts["facts"]) in self.planned:
            return []
        text = (
            "was made by another pipeline than the plan's, but the catalogue lists it: preprocess "
            "all subjects again, or delete this archive and run voxarray finalise"
        )
        return [Problem("OTHER_PIPELINE", entry.facts["source"], text)]

    def notes(self, entry: Entry) -> list[str]:
        """What is to be known of an archive that was converted: pipelines add to theirs."""
        return [_UNPLANNED] if pipeline_of(entry.facts["facts"]) is None else []


def _wanted(
    folder: CohortLayout,
) -> tuple[Wanted, _Pipelines | None, Listing | None, list[Verdict]]:
    """What a cohort must hold by its plan, or by its catalogue; and which of them is damaged."""
    unreadable = []
    pipelines, listing = None, None
    expected: Wanted = {}
    planned = False
    try:
        plan = Plan.read(folder.plan)
        planned = True
        expected = {os.path.basename(folder.archive(i.slug, plan.zipped)): i for i in plan.items}
        pipelines = _Pipelines(frozenset(pipeline_of(i.facts) for i in plan.items), plan.mixed)
    except MissingFileError:
        pass
    except (VoxarrayError, OSError) as error:
        unreadable.append(_unreadable(folder.plan, error))
    # Read even if there is a plan: a damaged catalogue is a finding, too.
    try:
        rows = parquet.read(folder.catalogue)
        listing = Listing.of(rows)
        done = rows[rows["status"] == "done"]
        if not planned:
            names = (os.path.basename(archive) for archive in done["archive"])
            expected = dict(zip(names, done["source"], strict=True))
    except FileNotFoundError:
        pass
    except (VoxarrayError, OSError) as error:
        unreadable.append(_unreadable(folder.catalogue, error))
    return expected, pipelines, listing, unreadable


def _of_catalogue(
    folder: CohortLayout, unlisted: Sequence[str], missing_names: Collection[str]
) -> Iterator[Verdict]:
    """The verdict on a catalogue that does not list some archives as they are.

    Args:
        folder: Of the cohort.
        unlisted: Paths of archives that were not in it, or were others.
        missing_names: Names of archives that were in it, and nowhere else.
    """
    if not unlisted and not missing_names:
        return
    try:
        current = Listing.of(parquet.read(folder.catalogue))  # it follows those who add label maps
    except (VoxarrayError, OSError):
        return  # whoever opens it is told so
    entries = [(os.path.basename(path), entry_of(path)) for path in unlisted]
    names = {name for name, entry in entries if entry is not None and not current.has(name, entry)}
    names |= current.facts.keys() & {*missing_names}
    if names:
        yield Verdict("catalogue.parquet", (stale(names),))


def _without_catalogue(folder: CohortLayout) -> Verdict:
    name = os.path.basename(folder.catalogue)
    text = (
        "is missing, so queries, exports and training find no archive. Somebody deleted it, or the "
        "cohort was converted in parts and not finalised. Run voxarray finalise"
    )
    return Verdict(name, (Problem("NO_CATALOGUE", name, text),))


def _unreadable(path: str, error: Exception) -> Verdict:
    name = os.path.basename(path)
    failure = failure_of(error, name, {})
    return Verdict(name, (Problem(failure.code, name, failure.message),))


def _of_plan(entry: Entry | None, item: Item, path: str) -> list[Problem]:
    if entry is not None and entry.is_of(item):
        return []
    added = additions(path)
    again = how_again(item)
    cure = (
        f"to keep what was added to it ({', '.join(added)}), save that elsewhere and remove it "
        f"from the archive (voxarray remove-labels), then {again}"
        if added
        else again
    )
    text = f"was made from other source data or with other options than planned: {cure}"
    return [Problem("OUTDATED", item.origin.source, text)]


def _of_sources(
    path: str, item: Item | str | None, locations: Mapping[str, str], progress: Progress | None
) -> list[Problem]:
    if not isinstance(item, Item):
        problem = Problem(
            "NOT_COMPARED",
            os.path.basename(path),
            "is undamaged, but was not compared with a source: its source was removed, renamed or "
            "left out, so no plan names it any more. If you do not want this archive, delete it; "
            "otherwise verify it alone and give its source",
        )
        return [problem]
    opener = FileOpener(locations)
    try:
        opened = opener.open(item)
        problems = compare(path, opened.source, progress)
        for name, layer in opened.layers.items():
            of_layer = compare(f"{path}/labels/{name}", layer.source, progress)
            problems += [
                replace(problem_of_layer, where=f"labels/{name}: {problem_of_layer.where}")
                for problem_of_layer in of_layer
            ]
    except Exception as error:  # of whatever reads the source: the other archives are verified
        failure = failure_of(error, item.origin.source, opener.places)
        # Whoever tells of a problem says first where it is.
        message = failure.message.removeprefix(f"{failure.file} ")
        return [Problem(failure.code, failure.file, message)]
    if problems and is_computed(item):
        differing = ", ".join(dict.fromkeys(problem.code for problem in problems))
        text = (
            f"is undamaged, but it differs from its source {item.origin.source} ({differing}). "
            "That is normal after a pipeline or a function, and verify cannot tell whether this is "
            "the only cause. Verify without --source (source=)"
        )
        return [Problem("NOT_COMPARED", os.path.basename(path), text)]
    return problems
