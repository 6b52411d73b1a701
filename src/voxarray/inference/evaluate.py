"""`evaluate`: how well a label map agrees with another, label by label, in one pass."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.cohort.cohort import Cohort
from voxarray.core import memory
from voxarray.core.errors import GridError
from voxarray.core.html_table import SCROLLS
from voxarray.core.names_elsewhere import listed
from voxarray.core.progress import ProgressOption, reporting, title_of
from voxarray.geometry.selection import Selection
from voxarray.image import Image
from voxarray.inference.cohort_scores import both_cohorts, scores_of_cohorts
from voxarray.inference.compared_labels import checked_label_map, checked_labels, whole_numbers
from voxarray.inference.evaluation_montage import Montage
from voxarray.inference.label_counts import LabelCounts
from voxarray.inference.same_labels import is_same, warn_of_same
from voxarray.inference.surface_distances import SurfaceDistances, surface_distances
from voxarray.source.base import Source
from voxarray.source.pieces import pieces

if TYPE_CHECKING:
    import pandas as pd

Box = tuple[range, range, range]

_BYTES_PER_VOXEL = 2 * (1 + 1) + 2 * (8 + 4 * 3) + 8
"""Of a label's box: two masks and their borders, scipy's two distance maps, and one more."""


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Agreement of one label.

    Attributes:
        label: The value.
        name: Name of the label, if an archive holds one.
        dice: Dice coefficient: twice the voxels in both, divided by the sum of the voxels in each;
            NaN if neither has any.
        predicted: Volume in the prediction, mm³.
        reference: Volume in the reference, mm³.
        both: Volume of the intersection, mm³.
        surfaces: Distances between the surfaces; None if surfaces were not compared, or if one of
            the two has no voxel of the label.
    """

    label: int
    name: str
    dice: float
    predicted: float
    reference: float
    both: float
    surfaces: SurfaceDistances | None

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        distances = self.surfaces
        return {
            "label": self.label,
            "name": self.name,
            "dice": self.dice,
            "predicted_mm3": self.predicted,
            "reference_mm3": self.reference,
            "hausdorff_mm": math.nan if distances is None else distances.hausdorff,
            "hausdorff95_mm": math.nan if distances is None else distances.hausdorff95,
            "mean_surface_mm": math.nan if distances is None else distances.mean,
        }


@dataclass(frozen=True)
class Evaluation(Mapping[int, LabelScores]):
    """How well the labels of a prediction agree with those of a reference.

    Attributes:
        scores: By label, ascending; 0 is left out.
    """

    scores: Mapping[int, LabelScores]

    def __getitem__(self, label: int) -> LabelScores:
        if label not in self.scores:
            raise KeyError(f"no label {label!r} was compared; compared: {listed(self)}")
        return self.scores[label]

    def __iter__(self) -> Any:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def table(self) -> pd.DataFrame:
        """A row per label: Dice, volumes in mm³, distances between surfaces in mm."""
        import pandas as pd

        rows = [score.row() for score in self.scores.values()]
        return pd.DataFrame(rows, columns=list(_EMPTY.row()))

    def _repr_html_(self) -> str:
        """`table`, for notebooks."""
        table = self.table.to_html(index=False, na_rep="", notebook=True)
        return f"<div {SCROLLS}><strong>Evaluation</strong>{table}</div>"

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(f'{k}: {s.dice:.3f}' for k, s in self.scores.items())})"


_EMPTY = LabelScores(0, "", math.nan, 0.0, 0.0, 0.0, None)


def evaluate(
    prediction: Any,
    reference: Any,
    *,
    layer: str | None = None,
    reference_layer: str | None = None,
    labels: Sequence[int] | None = None,
    surfaces: bool = True,
    montage: str | os.PathLike[str] | None = None,
    images: Any = None,
    most: int = 20,
    progress: ProgressOption = None,
) -> Any:
    """Compare label maps: Dice, volumes and distances between surfaces.

    Voxels are counted in one pass over both, in pieces. The surface of a label consists of its
    voxels with at least one of six neighbours outside, as in MONAI. Distances are computed by
    SciPy's exact Euclidean distance transform, within the smallest box around the label in the two
    maps together.

    Examples:
        >>> import voxarray as vx
        >>> import numpy as np
        >>> truth = np.zeros((1, 20, 20, 20), np.uint8)
        >>> truth[:, 5:15, 5:15, 5:15] = 1
        >>> found = np.roll(truth, 1, axis=1)
        >>> scores = vx.evaluate(vx.LabelMap(tensor=found), vx.LabelMap(tensor=truth))
        >>> scores[1].dice, scores[1].surfaces.hausdorff
        (0.9, 1.0)

        A picture of the prediction over the scan, with the outline of the reference:

        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "montage.png"
        >>> scan = vx.ScalarImage(tensor=np.random.default_rng(0).random((1, 20, 20, 20)))
        >>> pair = vx.LabelMap(tensor=found), vx.LabelMap(tensor=truth)
        >>> scores = vx.evaluate(*pair, images=scan, montage=path)
        >>> path.exists()
        True

    Args:
        prediction: A `LabelMap`, its path, or a `Cohort` of predictions.
        reference: The reference, on the same grid; for a `Cohort`, a `Cohort` with the same
            subjects.
        layer: For cohorts, the name of the label map that is the prediction in each subject; by
            default the only label map of the subject, or the one named ``"label"``.
        reference_layer: The same for the reference. Both may be label maps of one cohort.
        labels: Labels to compare; by default all that occur in either, except 0.
        surfaces: Whether to compare surfaces, too; then the bounding box of a label must fit into
            memory.
        montage: Where to save a picture: a row per subject, the axial slice with the most predicted
            voxels, the prediction over the scan and the outline of the reference.
        images: Scans for the picture: an image, its path, or a `Cohort` with the same subjects; for
            cohorts, by default the cohort of the references.
        most: Largest number of subjects in the picture.
        progress: True shows a progress bar, False none, None (the default) only in a terminal or
            notebook; or a function of (bytes done, bytes in all), called image by image.

    Returns:
        An `Evaluation`; for cohorts, a pandas table with a row per subject and label.

    Raises:
        GridError: If the two are on different grids (``GRID_MISMATCH``), or the axes of the grid
            are not at right angles and surfaces are compared (``SHEARED``).
        UnsupportedError: If one has several channels, or is not a label map (``NO_LABELS``).
        MemoryBudgetError: If a label's box does not fit.
        StateError: If the cohorts have different subjects (``SUBJECTS_DIFFER``), or a scan for the
            picture is missing (``NO_SCAN``).
        SubjectsFailedError: If some subjects of cohorts could not be compared, such as those on
            different grids (``SOME_FAILED``). The message names them, and the attribute ``table``
            of the error has the scores of all others. If no subject could be compared, the error of
            the first one is raised.
        MissingPackageError: If a picture is asked for and matplotlib is not installed.
        ValueError: If ``images`` is given without ``montage``, layers for single images, or
            ``labels`` that are no whole numbers, or 0.
    """
    if montage is None and images is not None:
        raise ValueError(
            "images= are scans for the picture of montage=: give montage= a path, or leave images= "
            "out"
        )
    chosen = checked_labels(labels)
    picture = None if montage is None else Montage(montage, images, most)
    if isinstance(prediction, Cohort) or isinstance(reference, Cohort):
        pair = both_cohorts(prediction, reference)

        def scores_of(
            name: str, maps: Any, subject_picture: Montage | None, report: Any
        ) -> pd.DataFrame:
            return _compare(name, maps[0], maps[1], chosen, surfaces, subject_picture, report).table

        names, empty = (layer, reference_layer), Evaluation({}).table
        return scores_of_cohorts(*pair, names, scores_of, empty, picture, progress)
    if layer is not None or reference_layer is not None:
        raise ValueError(
            "layer= and reference_layer= choose among label maps of two cohorts, not of "
            f"{type(prediction).__name__} and {type(reference).__name__}: to compare two label "
            "maps, leave layer= and reference_layer= out; save mapped cohorts first"
        )
    maps = checked_label_map(prediction, "prediction"), checked_label_map(reference, "reference")
    if is_same(*maps):
        path = maps[0].source.path
        same = f"both {path}" if path else "the same image in memory"
        warn_of_same(f"prediction and reference are {same}")
    if picture is not None:
        picture.expect("", *maps, picture.scan())
    scores = _compare("", *maps, chosen, surfaces, picture, progress)
    if picture is not None:
        picture.save()
    return scores


def _compare(
    name: str,
    prediction: Image,
    reference: Image,
    labels: Sequence[int] | None,
    surfaces: bool,
    picture: Montage | None,
    progress: ProgressOption,
) -> Evaluation:
    predicted, truth = prediction.source, reference.source
    _require_one_grid(predicted, truth, surfaces, of_cohorts=bool(name))
    counts = LabelCounts()
    slices = None if picture is None else picture.slices(name)
    with reporting(progress, title_of(predicted.path, "evaluation")) as report:
        for box, voxels in pieces(predicted, report):
            counts.add(box, whole_numbers(voxels), whole_numbers(truth.read(box)))
            if slices is not None:
                slices.add(box, voxels)
            del voxels  # or it would be held while the next one is read
    names = {
        label.value: label.name for source in (truth, predicted) for label in source.label_table
    }
    compared = counts.labels if labels is None else labels
    scores = Evaluation(
        {k: _scores(k, names, counts, predicted, truth, surfaces) for k in compared}
    )
    if picture is not None:
        picture.add(name, [score.dice for score in scores.values()])
    return scores


def _scores(
    label: int,
    names: Mapping[int, str],
    counts: LabelCounts,
    prediction: Source,
    truth: Source,
    surfaces: bool,
) -> LabelScores:
    voxel = float(np.prod(prediction.grid.spacing))
    predicted, real = counts.predicted.get(label, 0), counts.reference.get(label, 0)
    common = counts.both.get(label, 0)
    dice = 2 * common / (predicted + real) if predicted + real else math.nan
    distances = None
    if surfaces and predicted and real:
        distances = _distances(label, counts.boxes[label], prediction, truth)
    name = names.get(label, "")
    return LabelScores(
        label, name, dice, predicted * voxel, real * voxel, common * voxel, distances
    )


def _distances(
    label: int, bounds: NDArray[np.int64], prediction: Source, truth: Source
) -> SurfaceDistances:
    x, y, z = (range(int(low), int(high)) for low, high in bounds)
    memory.require(
        len(x) * len(y) * len(z) * (_BYTES_PER_VOXEL + 2 * prediction.dtype.itemsize),
        f"comparing the surfaces of label {label}, which fills {len(x)} x {len(y)} x {len(z)} "
        "voxels,",
        "pass surfaces=False, or raise the budget",
    )
    box = Selection((range(1), x, y, z))
    # A border of background: what ends with the volume ends there.
    masks = [np.pad(source.read(box)[0] == label, 1) for source in (prediction, truth)]
    return surface_distances(masks[0], masks[1], prediction.grid.spacing)


def _require_one_grid(
    prediction: Source, truth: Source, surfaces: bool, *, of_cohorts: bool
) -> None:
    if not prediction.grid.isclose(truth.grid):
        cure = ""
        if of_cohorts:
            cure = (
                ', such as by reference.map(vx.Resample("t1")).save(folder), where t1 is a scan of '
                "each subject on the grid of the prediction; folder is then the reference"
            )
        raise GridError(
            f"the prediction has {prediction.grid} and the reference {truth.grid}: resample one "
            f"onto the other first{cure}",
            code="GRID_MISMATCH",
            path=prediction.path,
        )
    direction = prediction.grid.direction
    if surfaces and not np.allclose(direction.T @ direction, np.eye(3), atol=1e-4):
        raise GridError(
            "the voxel axes are not at right angles, so distances between surfaces cannot be "
            "measured along them: resample both onto another grid, or pass surfaces=False",
            code="SHEARED",
            path=prediction.path,
        )
