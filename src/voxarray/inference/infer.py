"""`infer`: from a model and a scan to labels or probabilities on the scan's own grid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxarray.archive.convert import convert as convert_to_archive
from voxarray.archive.options import Options
from voxarray.cohort.plan.described import described
from voxarray.core.errors import ArchiveExistsError, StateError
from voxarray.core.history import Entry, entry
from voxarray.core.progress import ProgressOption, reporting
from voxarray.formats.registry import writable_format
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.inference.classes import Classes
from voxarray.inference.job import Job
from voxarray.inference.loading import LoadedModel, loaded
from voxarray.inference.network import Network
from voxarray.inference.options import SUMS, InferenceOptions
from voxarray.inference.planning import Patching, Placement, placed, probe
from voxarray.inference.predicted import Outline, Predicted, Report, gathered
from voxarray.inference.scan import Scan, scan_of
from voxarray.saving import projected_peak, save
from voxarray.source.base import Source
from voxarray.source.window import Window
from voxarray.storage.destination import local_destination

_ARCHIVES = "zarr"


def infer(
    model: Any,
    images: Any,
    destination: str | os.PathLike[str] | None = None,
    *,
    patch_size: int | Sequence[int] | None = None,
    overlap: float | Sequence[float] | None = None,
    blend: str | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    output: str = "labels",
    activation: str | None = None,
    threshold: float | None = None,
    classes: Any = None,
    channels: Sequence[str] | None = None,
    batch_size: int | None = None,
    device: Any = None,
    amp: bool | None = None,
    flips: Any = (),
    accumulate: str = "float32",
    dtype: str | None = None,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> Image:
    """Run a network over a volume of any size and write what it finds on the scan's own grid.

    The volume is cut into patches that overlap. They are predicted in an order that finishes
    regions early; what is finished is brought back to the scan's grid, reduced and written, so that
    memory depends on the patches and the budget, not on the volume or the number of classes. Sums
    that do not fit into the budget wait in a scratch file. Both are projected before voxels are
    read; the network's own memory comes on top.

    >>> import torch, voxarray as vx
    >>> scan = vx.testing.sample((40, 36, 30))
    >>> def bright(patches):  # logits of two classes
    ...     return torch.cat([300 - patches, patches - 300], dim=1)
    >>> labels = vx.infer(bright, scan, "labels.nii.gz", patch_size=16, overwrite=True)
    >>> labels.count_labels()
    {0: 29736, 1: 13464}

    Args:
        model: A function of patches (N, C, W, H, D), float32, that returns logits
            (N, K, W, H, D); a `torch.nn.Module`, which is put into evaluation mode meanwhile; the
            file of a TorchScript, ``torch.export`` or ONNX network; the folder of a MONAI bundle;
            or a list of these, of which the mean is taken. TorchScript and ``.pt2`` are programs:
            load those of sources that you trust. Of a bundle no code is run.
        images: An `Image`, its path, or a `Subject`.
        destination: An archive or file; its suffix says which format.
        patch_size: Voxels of a patch along W, H and D, or one number for all. A volume that is
            smaller is padded with zeros.
        overlap: Of neighbours: a fraction of the patch (by default 0.5), or voxels (int).
        blend: How patches that overlap are weighed: ``"hann"`` (the default), ``"gaussian"`` with
            a sigma of 1/8 of the patch, as MONAI and nnU-Net, ``"crop"`` (each voxel comes from the
            patch in whose middle it is), or ``"average"``.
        preprocess: A transform of `voxarray.transforms`, or a function of a subject, applied
            lazily first; without it that of a bundle. Logits come back from its grid to the
            scan's by linear interpolation.
        output: ``"labels"``, ``"probabilities"``, ``"logits"`` or ``"regression"``.
        activation: What makes probabilities of logits: ``"softmax"``, or ``"sigmoid"`` for
            classes that may overlap, which is the default for one class; ``"none"`` if the network
            returns probabilities. Labels with a sigmoid have one channel per class.
        threshold: Least probability of a label; of a sigmoid's 0.5 by default.
        classes: How many classes the network has, their names in order, or their names (or name
            and RGB colour) by label, in order. Without it, a patch of zeros is predicted first.
        channels: Names of a subject's images in the order of the network's channels.
        batch_size: Patches that are predicted at once, 1 by default.
        device: Where the network runs, as torch names it; by default where its weights are.
        amp: Use half precision where that is safe.
        flips: Mirrored versions to average over: axes (0, 1, 2), several at once as a tuple, or
            ``"all"``.
        accumulate: Type of the sums: ``"float32"``, or ``"float16"`` for half of the memory.
        dtype: Type of the result. Probabilities are float16 (in archives; float32 in files),
            or uint8, of which 255 stands for 1.
        overwrite: Replace what is at the destination.
        progress: True, False, a function of bytes done and in all, or None: a bar where somebody
            looks.

    Returns:
        The result, not loaded: a `LabelMap`, or a `ScalarImage`.

    Raises:
        ModelError: If the model cannot be loaded (``BAD_MODEL``, ``NO_NETWORK``,
            ``BAD_WEIGHTS``, ``BUNDLE_TARGET``, ``BUNDLE_EXPRESSION``, ``BUNDLE_TRANSFORM``), fails
            (``MODEL_FAILED``, ``DEVICE_FULL``, ``DEVICE_LOST``), takes another shape
            (``FIXED_SHAPE``) or returns what it must not (``BAD_PREDICTION``,
            ``CLASSES_CHANGED``, ``NAN_PREDICTION``).
        StateError: If the destination is missing (``NO_DESTINATION``), or images do not fit
            (``MISSING_CHANNELS``, ``CHANNELS_UNNAMED``, ``GRIDS_DIFFER``).
        UnsupportedError: If the preprocessing cannot be undone (``NOT_INVERTIBLE``).
        MemoryBudgetError: If patches and predictions alone exceed the budget; nothing was read.
        ArchiveError: If the scratch exceeds the disk (``NO_SPACE``); nothing was read.
        ArchiveExistsError: If the destination exists and ``overwrite`` is not set.
        ValueError: For arguments that make no sense.
    """
    options = InferenceOptions(
        patch_size,
        overlap,
        blend,
        output,
        activation,
        threshold,
        channels,
        batch_size,
        amp,
        flips,
        accumulate,
        dtype,
    )
    work = Inference.of(loaded(model), options, classes, preprocess, device)
    return work.write(images, destination, overwrite=overwrite, progress=progress)


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
        if preprocess is None and model.preprocess is not None:
            preprocess = model.preprocess()
        network = Network(model.networks, options.flips, device, bool(options.amp))
        return cls(model, network, options, Classes.of(classes, model.names), preprocess)

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
        placement = self.placement(scan, target)
        title = os.path.basename(target)
        with self.result(scan, placement, title, progress) as source:
            if self._is_archive(target):
                convert_to_archive(
                    source,
                    target,
                    kind="label" if self.makes_labels else "intensity",
                    table=self.classes.table if self.makes_labels else (),
                    options=Options(overwrite=overwrite),
                )
            else:
                save(source, target, label=self.makes_labels, overwrite=overwrite, progress=False)
        return LabelMap(target) if self.makes_labels else ScalarImage(target)

    @property
    def makes_labels(self) -> bool:
        """Whether the result is a label map."""
        return self.options.output == "labels"

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
        options = self.options
        patching = Patching.of(
            options.patch_size,
            0.5 if options.overlap is None else options.overlap,
            options.blend or "hann",
            SUMS[options.accumulate],
            options.batch_size or 1,
        )
        count = self.classes.count or probe(scan, patching, self.network)
        reduction = self.options.reduction(count, self.classes.values)
        if options.dtype is None and reduction.dtype == "float16" and not self._is_archive(target):
            reduction = replace(reduction, dtype=np.dtype(np.float32))
        channels = reduction.channels(count)
        outline = Outline(
            (channels, *scan.native.shape), reduction.dtype, scan.native.affine, scan.sources
        )
        writing = projected_peak(outline, target)
        return placed(scan, patching, self.network, count, reduction, writing)

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
        with ExitStack() as held:
            told = held.enter_context(reporting(progress, title))
            ready = held.enter_context(scan.staged())
            job = placement.job
            job = replace(job, reader=replace(job.reader, sources=ready.sources))
            report = _counter(told, job)
            scaling = self.options.scaling(job.reduction)
            source: Source
            if placement.streams:
                source = Predicted(
                    job, placement.limit, placement.cost.cells, placement.peak, report
                )
            else:
                source = gathered(job, placement.limit, placement.cost.cells, report, scaling)
            yield Window.of(source).recorded(self._entry(scan, placement))

    def _entry(self, scan: Scan, placement: Placement) -> Entry:
        """What the history of a result says: the same for the same model, scan and settings."""
        job = placement.job
        return entry(
            "infer",
            {
                **self.options.recorded(),
                "model": self.model.digest,
                "patch_size": job.plan.patch,
                "overlap": placement.overlap,
                "blend": job.blend,
                "batch_size": job.batch,
                "activation": job.reduction.activation,
                "classes": [[label.value, label.name] for label in self.classes.table]
                or job.classes,
                "preprocess": None if self.preprocess is None else described(self.preprocess),
                "grid": [scan.predicted.shape, scan.predicted.affine],
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
    target = os.path.abspath(os.path.expanduser(local_destination(destination)))
    if os.path.lexists(target) and not overwrite:
        raise ArchiveExistsError(
            f"{target} exists already: choose another name, or pass overwrite=True", path=target
        )
    return target


def _counter(told: Callable[[int, int], None] | None, job: Job) -> Report:
    """Tells a bar of patches, as the bytes that they are read as."""
    done = 0
    each = job.reader.patch_bytes

    def report(patches: int) -> None:
        nonlocal done
        done += patches * each
        if told is not None:
            told(done, len(job.plan) * each)

    return report
