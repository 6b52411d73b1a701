"""Label maps of two cohorts, compared subject by subject."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from voxarray.cohort.cohort import Cohort
from voxarray.core.errors import StateError, VoxarrayError
from voxarray.core.progress import ProgressOption, reporting_each
from voxarray.image import Image, LabelMap
from voxarray.inference.compared_labels import checked_label_map
from voxarray.inference.evaluation_montage import Montage
from voxarray.inference.same_labels import is_same, warn_of_same
from voxarray.subject import Subject
from voxarray.subject.meant_label_map import meant_label_map

if TYPE_CHECKING:
    import pandas as pd

Compare = Callable[[str, tuple[Image, Image], Montage | None, Any], "pd.DataFrame"]
"""Makes the table of one subject: of its name, its label maps, the picture, and what is told."""

_ROLES = ("prediction", "reference")
_TOLD = 5
"""Failures that a message names."""


class SubjectsFailedError(VoxarrayError):
    """Some subjects could not be compared; the scores of all others are kept.

    Attributes:
        table: Scores of the others.
        failures: What went wrong, by the names of the subjects.
        compared: Names of the others.
    """

    default_code = "SOME_FAILED"
    table: Any = None
    failures: Mapping[str, Exception] = {}
    compared: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, failures: Mapping[str, Exception], compared: Iterable[str], table: pd.DataFrame
    ) -> SubjectsFailedError:
        """The error that says what went wrong.

        Args:
            failures: By subject.
            compared: The other subjects.
            table: Scores of the others.
        """
        others = tuple(compared)
        messages = "; ".join(f"{name}: {error}" for name, error in [*failures.items()][:_TOLD])
        more = f"; and {len(failures) - _TOLD} more" if len(failures) > _TOLD else ""
        result = cls(
            f"{len(failures)} of {len(failures) + len(others)} subjects could not be compared. "
            "The attribute 'table' of this error has the scores of all others. What failed: "
            f"{messages}{more}",
            code="SOME_FAILED",
        )
        result.table, result.failures, result.compared = table, dict(failures), others
        return result


def both_cohorts(prediction: Any, reference: Any) -> tuple[Cohort, Cohort]:
    """Both, if they are cohorts with the same subjects.

    Raises:
        TypeError: If one of them is none.
        MissingFileError: If one is a path at which there is nothing.
        StateError: If their subjects differ (``SUBJECTS_DIFFER``).
    """
    for cohort, role, other in zip((prediction, reference), _ROLES, reversed(_ROLES), strict=True):
        if not isinstance(cohort, Cohort):
            if isinstance(cohort, (str, os.PathLike)):
                LabelMap(cohort)  # which says that there is nothing
            description = (
                cohort if isinstance(cohort, (str, os.PathLike)) else type(cohort).__name__
            )
            raise TypeError(
                f"the {other} is a cohort, and the {role} is not ({description}): compare two "
                "cohorts (in Python, vx.Cohort(folder) opens one, and cohort.map(...).save(folder) "
                "makes one), or two label maps"
            )
    predicted, known = set(prediction.names), set(reference.names)
    missing = predicted ^ known
    if missing:
        example = sorted(missing)[0]
        count = "1 subject is" if len(missing) == 1 else f"{len(missing)} subjects are"
        role = "reference" if example in predicted else "prediction"
        raise StateError(
            f"{count} in one cohort only: {example} has no {role}"
            f"{', for example' if len(missing) > 1 else ''}. Choose the same subjects of both, "
            "such as prediction[reference.names]; on the command line, --query chooses by the "
            "catalogue of the predictions, and --reference-query by that of the references",
            code="SUBJECTS_DIFFER",
        )
    return prediction, reference


def scores_of_cohorts(
    prediction: Cohort,
    reference: Cohort,
    layers: tuple[str | None, str | None],
    compare: Compare,
    empty: pd.DataFrame,
    picture: Montage | None,
    progress: ProgressOption,
) -> pd.DataFrame:
    """The scores of each subject and label; a subject that fails stops no other.

    Args:
        prediction: Cohort of predictions.
        reference: Cohort with the same subjects.
        layers: Names of the label maps that are compared, as of `evaluate`.
        compare: Compares the label maps of one subject.
        empty: What it makes of label maps without labels.
        picture: What is drawn of the first subjects.
        progress: As of `evaluate`.

    Raises:
        SubjectsFailedError: Some subjects failed, and others did not.
        VoxarrayError: As `evaluate`; if all subjects failed, what the first one failed of.
    """

    def maps_of(name: str) -> tuple[LabelMap, LabelMap]:
        return (
            _label_map(prediction[name], name, layers[0], "layer"),
            _label_map(reference[name], name, layers[1], "reference_layer"),
        )

    for name in prediction.names:  # who lacks one is told before hours of counting
        maps_of(name)
    failures = dict[str, Exception]()
    pictured = [] if picture is None else prediction.names[: picture.most]
    if picture is not None:
        picture.left_out = len(prediction) - len(pictured)
        for name in pictured:
            maps = maps_of(name)
            scan = picture.scan(name, reference, maps)
            try:
                picture.expect(name, *maps, scan)
            except (VoxarrayError, OSError) as error:
                failures[name] = _without_voxels(error)
    tables: dict[str, pd.DataFrame] = {}
    same: list[str | None] = []
    with reporting_each(progress, len(prediction)) as begin:
        for name in prediction.names:
            report = begin(name)
            if name in failures:
                continue
            try:
                predicted, truth = map(checked_label_map, maps_of(name), _ROLES)
                if is_same(predicted, truth):
                    same.append(predicted.source.path)
                subject_picture = picture if name in pictured else None
                tables[name] = compare(name, (predicted, truth), subject_picture, report)
            except (VoxarrayError, OSError) as error:
                failures[name] = _without_voxels(error)
    if failures and not tables:
        raise failures[next(name for name in prediction.names if name in failures)]
    if picture is not None and tables:
        picture.save()
    if same:
        warn_of_same(
            f"for {len(same)} of {len(prediction)} subjects, prediction and reference are one "
            f"label map, such as {same[0]}; layer= and reference_layer= (--layer, "
            "--reference-layer) choose two label maps of one cohort"
        )
    table = _joined(tables or {"": empty})
    if failures:
        raise SubjectsFailedError.of(failures, tables, table)
    return table


def _without_voxels(error: Exception) -> Exception:
    """An error to keep: its traceback would hold what was read for it, some MB of each subject."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    return error


def _joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    for name, table in tables.items():
        table.insert(0, "subject", name)
    return pd.concat([*tables.values()], ignore_index=True)


def _label_map(subject: Subject, name: str, layer: str | None, keyword: str) -> LabelMap:
    label_maps = {
        key: image
        for key, image in subject.get_images_dict(intensity_only=False).items()
        if isinstance(image, LabelMap)
    }
    chosen = meant_label_map(label_maps) if layer is None else layer
    if chosen is None or chosen not in label_maps:
        expected = f"{layer!r}" if layer is not None else "a single one, or one called 'label'"
        raise StateError(
            f"the subject {name} has the label maps {sorted(label_maps)}: expected {expected}; "
            f"choose one by {keyword}= (--{keyword.replace('_', '-')}), or leave the subject out "
            f"by cohort.query(...) ({'--query' if keyword == 'layer' else '--reference-query'})",
            code="NO_LABELS",
        )
    return label_maps[chosen]
