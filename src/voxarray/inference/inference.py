"""`Inference`: a model and what is to be done with it, for one scan or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from voxarray.archive.convert import convert as convert_to_archive
from voxarray.archive.metadata import Label
from voxarray.archive.options import Options
from voxarray.cohort.plan.described import described
from voxarray.core.error_messages import REPLACED_WITHOUT
from voxarray.core.errors import ArchiveExistsError, StateError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.history import Entry, entry, opaque
from voxarray.core.progress import ProgressOption, reporting
from voxarray.formats.registry import writable_format
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.inference.classes import Classes
from voxarray.inference.loading import LoadedModel
from voxarray.inference.network import Network
from voxarray.inference.network_input import Scan, scan_of
from voxarray.inference.options import SUMS, InferenceOptions
from voxarray.inference.patching import Patching
from voxarray.inference.placement import Placement, placed
from voxarray.inference.predicted import Outline, Predicted, Report, gathered
from voxarray.inference.probe import Probe, probe
from voxarray.inference.provenance import identity_of
from voxarray.inference.reduction import Reduction
from voxarray.inference.volume_job import VolumeJob
from voxarray.inference.writable_format import require_writable
from voxarray.saving import projected_peak, save
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.storage.destination import local_destination
from voxarray.storage.outer_archive import refuse_place_in_archive

_ARCHIVES = "zarr"


@dataclass(frozen=True, eq=False)
class Inference:
    """A model and what is to be done with it, for one scan or many.

    Attributes:
        model: The networks.
        network: The same, on their device.
        options: What is computed.
        classes: What the classes mark.
        preprocess: Applied to each subject first.
    """

    model: LoadedModel
    network: Network
    options: InferenceOptions
    classes: Classes
    preprocess: Callable[[Any], Any] | None
    _probes: dict[int, Probe] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        model: LoadedModel,
        options: InferenceOptions,
        classes: Any = None,
        preprocess: Callable[[Any], Any] | None = None,
        device: Any = None,
    ) -> Inference:
        """Put together what a user and a model say."""
        options = options.completed(model.settings)
        if preprocess is not None and not callable(preprocess):
            raise TypeError(
                f"preprocess is a transform or a function of a subject, not {preprocess!r}"
            )
        if preprocess is None and model.preprocess is not None:
            preprocess = model.preprocess()
        sums = SUMS[options.accumulate]
        largest = float(np.finfo(sums).max) if sums.itemsize < 4 else None
        # Labels of the network's own grid compare numbers, and infinite ones, too.
        compares = options.output == "labels" and preprocess is None
        amp = bool(options.amp)
        network = Network(model.networks, options.flips, device, amp, largest, compares)
        return cls(model, network, options, Classes.of(classes, model.names), preprocess)

    @names_exhaustion
    def write(
        self,
        images: Any,
        destination: str | os.PathLike[str] | None,
        *,
        overwrite: bool = False,
        progress: ProgressOption = None,
    ) -> Image:
        """Predict one scan and write the result; see `infer`."""
        target = _target(destination, overwrite)
        scan = self.scan(images)
        _require_apart(target, scan)
        refuse_place_in_archive(target)
        placement = self.placement(scan, target)
        if not self._is_archive(target):
            require_writable(
                self._outline(scan, placement.job.reduction),
                target,
                label=self.makes_labels,
                scaling=self.options.scaling(placement.job.reduction),
            )
        title = os.path.basename(target)
        with self.result(scan, placement, title, progress) as source:
            if self._is_archive(target):
                convert_to_archive(
                    source,
                    target,
                    kind="label" if self.makes_labels else "intensity",
                    table=self.label_table(placement.job.channels),
                    options=Options(overwrite=overwrite),
                )
            else:
                save(source, target, label=self.makes_labels, overwrite=overwrite, progress=False)
        return LabelMap(target) if self.makes_labels else ScalarImage(target)

    @property
    def makes_labels(self) -> bool:
        """Whether the result is a label map."""
        return self.options.output == "labels"

    @property
    def patching(self) -> Patching:
        """How volumes are cut into patches."""
        options = self.options
        return Patching.of(
            options.patch_size,
            0.5 if options.overlap is None else options.overlap,
            options.blend or "hann",
            SUMS[options.accumulate],
            # Of fewer patches a model of a fixed batch would compute as many, and hold as much.
            max(options.batch_size or 1, min(self.model.fixed_batches, default=1)),
        )

    def count(self, scan: Scan) -> int:
        """How many classes the network has; it is run once, if nobody has said."""
        number = self.classes.count
        return self.probed(scan).classes if number is None else number

    def probed(self, scan: Scan) -> Probe:
        """What the network says of itself, for images of so many channels; it is run once."""
        channels = sum(source.shape[0] for source in scan.network_input.sources)
        if channels not in self._probes:
            self._probes[channels] = probe(
                scan, self.patching, self.network, max(self.model.fixed_batches, default=1)
            )
        return self._probes[channels]

    def scan(self, images: Any) -> Scan:
        """What the network is shown of some images; reads nothing."""
        names = self.options.channels or self.model.channels or None
        return scan_of(images, names, self.preprocess)

    def placement(self, scan: Scan, target: str) -> Placement:
        """Where everything is held while a scan is predicted; reads nothing.

        Args:
            scan: What is predicted.
            target: Where the result goes.
        """
        options, patching = self.options, self.patching
        count = self.count(scan)
        reduction = self.options.reduction(count, self.classes.values)
        if options.dtype is None and reduction.dtype == "float16" and not self._is_archive(target):
            reduction = replace(reduction, dtype=np.dtype(np.float32))
        outline, scaling = self._outline(scan, reduction), options.scaling(reduction)
        if scaling is not None and not self._is_archive(target):  # some hold no scaling
            outline = replace(outline, dtype=scaling.dtype(reduction.dtype))
        writing = projected_peak(outline, target)
        network_bytes = self.probed(scan).own_bytes
        written = writable_format(target)
        in_order = written is not None and written.in_order
        return placed(
            scan, patching, self.network, count, reduction, in_order, network_bytes, writing
        )

    def _outline(self, scan: Scan, reduction: Reduction) -> Outline:
        """Size and type of what is written."""
        shape = (reduction.channels(self.count(scan)), *scan.native.shape)
        return Outline(shape, reduction.dtype, scan.native.affine, scan.network_input.sources)

    def label_table(self, channels: int) -> tuple[Label, ...]:
        """Names and colours of labels, where they are the voxels' values.

        Classes that may overlap have a channel each, whose values are 0 and 1: 1 is any of them.
        """
        return self.classes.table if self.makes_labels and channels == 1 else ()

    @contextmanager
    def result(
        self, scan: Scan, placement: Placement, title: str, progress: ProgressOption
    ) -> Iterator[Source]:
        """The prediction of a scan as a source to be written once.

        Args:
            scan: As the placement was made for.
            placement: Where everything is held.
            title: Of the bar.
            progress: See `infer`.
        """
        with ExitStack() as stack:
            callback = stack.enter_context(reporting(progress, title))
            ready = stack.enter_context(scan.network_input.staged())
            job = placement.job
            job = replace(job, reader=replace(job.reader, sources=ready))
            report = _counter(callback, job)
            scaling = self.options.scaling(job.reduction)
            table = self.label_table(job.channels)
            source: Source
            if placement.streams:
                source = Predicted(
                    job,
                    placement.limit,
                    placement.cost.cells,
                    placement.peak,
                    report,
                    scaling,
                    scan.origin,
                    table,
                )
            else:
                source = gathered(
                    job,
                    placement.limit,
                    placement.cost.cells,
                    report,
                    scaling,
                    scan.origin,
                    table,
                )
            yield SlicedSource.of(source).recorded(self.entry(scan))

    def entry(self, scan: Scan) -> Entry:
        """What the history of a result says: the same for the same model, scan and settings."""
        grid = scan.network_input.grid
        return self._entry(scan, self.count(scan), [grid.shape, grid.affine])

    def other_maker(self, step: Mapping[str, Any], scan: Scan) -> str:
        """How a result was made, such as "with another model"; empty if this inference made it.

        Only headers are read: what preprocessing and the network would say of themselves is what
        they have said, for they are the same.

        Args:
            step: The entry of its history.
            scan: What would be predicted.
        """
        recorded = step["arguments"]
        if step["operation"] != "infer" or "grid" not in recorded or "classes" not in recorded:
            return "by another version of voxarray"
        names = recorded["classes"]
        count = names if isinstance(names, int) else len(names)
        expected = self._entry(scan, self.classes.count or count, recorded["grid"])
        wanted = expected["arguments"]
        differing = [
            name
            for name in sorted({*wanted, *recorded})
            if name not in wanted or name not in recorded or wanted[name] != recorded[name]
        ]
        settings = [name for name in differing if name not in ("model", "images")]
        makers = ["with another model"] if "model" in differing else []
        makers += [f"with other settings ({', '.join(settings)})"] if settings else []
        if "images" in differing or opaque(wanted.get("images")):  # data in memory may be any
            makers.append("from other images")
        if step["version"] != expected["version"]:
            makers.append("by another version of voxarray")
        return " and ".join(makers)

    def _entry(self, scan: Scan, count: int, grid: Any) -> Entry:
        patching = self.patching
        reduction = self.options.reduction(count, self.classes.values)
        other_images = {name: identity_of(image.source) for name, image in scan.others.items()}
        names = [
            [label.value, label.name, *([list(label.colour)] if label.colour else [])]
            for label in self.classes.table
        ]
        return entry(
            "infer",
            {
                **self.options.recorded(),
                "model": self.model.digest,
                "patch_size": patching.size,
                "overlap": patching.overlap,
                "blend": patching.blend,
                "batch_size": patching.batch,
                "activation": reduction.activation,
                "classes": names or count,
                "preprocess": None if self.preprocess is None else described(self.preprocess),
                "grid": grid,
                **({"images": other_images} if other_images else {}),
            },
        )

    def _is_archive(self, target: str) -> bool:
        written = writable_format(target)
        return written is not None and written.identity == _ARCHIVES


def _target(destination: str | os.PathLike[str] | None, overwrite: bool) -> str:
    """The destination as a local path.

    Raises:
        StateError: If there is none (``NO_DESTINATION``).
        ArchiveExistsError: If something is there and must not be replaced.
    """
    if destination is None:
        raise StateError(
            "nothing says where the result goes: pass destination, for example "
            "labels.ome.zarr or labels.nii.gz",
            code="NO_DESTINATION",
        )
    if isinstance(destination, bytes):
        raise TypeError(f"destination is a path as text, not bytes: {destination!r}")
    target = os.path.abspath(os.path.expanduser(local_destination(destination)))
    if os.path.lexists(target) and not overwrite:
        more = f"; a new archive is {REPLACED_WITHOUT}" if os.path.isdir(target) else ""
        raise ArchiveExistsError(
            f"{target} exists already: choose another name, or pass overwrite=True "
            f"(--overwrite){more}",
            path=target,
        )
    return target


def _require_apart(target: str, scan: Scan) -> None:
    """Refuse to replace the scan by its labels, or to write them into its folder.

    Raises:
        StateError: ``OWN_SOURCE``.
    """
    destination = os.path.realpath(target)
    used = {**scan.channels, **scan.others}
    for path in (image.source.path for image in used.values()):
        scan_path = None if path is None else os.path.realpath(path)
        if scan_path is not None and (
            destination == scan_path or destination.startswith(scan_path + os.sep)
        ):
            raise StateError(
                f"{target} is the scan, or lies in it: choose another destination. Or leave "
                "destination out: if the scan is an archive, its labels are then added to it",
                code="OWN_SOURCE",
                path=target,
            )


def _counter(callback: Callable[[int, int], None] | None, job: VolumeJob) -> Report:
    """Tells a bar of patches, as the bytes that they are read as."""
    done = 0
    each = job.reader.patch_bytes

    def report(patches: int) -> None:
        nonlocal done
        done += patches * each
        if callback is not None:
            callback(done, len(job.plan) * each)

    return report
