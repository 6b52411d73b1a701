"""`infer`: from a model and a scan to labels or probabilities on the scan's own grid."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from voxarray.cohort.cohort import Cohort
from voxarray.core.errors import UnsupportedError
from voxarray.core.progress import ProgressOption
from voxarray.inference.cohort_layers import add_layer, add_layers
from voxarray.inference.inference import Inference
from voxarray.inference.loading import loaded
from voxarray.inference.network_input import subject_of
from voxarray.inference.options import InferenceOptions
from voxarray.inference.prediction_transform import PREDICTION, InferenceTransform


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
    layer: str = PREDICTION,
    overwrite: bool = False,
    workers: int = 0,
    scheduler: str | None = None,
    partition: tuple[int, int] | None = None,
    executor: Executor | None = None,
    progress: ProgressOption = None,
) -> Any:
    """Run a network over a volume of any size, and write its predictions on the scan's own grid.

    The volume is cut into overlapping patches. As soon as all patches of a region are predicted,
    the region is resampled to the scan's grid, turned into labels (or probabilities), and written.
    So memory depends on the patches and the memory budget (the setting
    ``voxarray.memory-budget``), not on the volume or the number of classes.
    Sums of overlapping patches that do not fit into the budget go to a scratch file. RAM and
    scratch are projected before voxels are read; the network's own memory is measured with a batch
    of zeros, and included.

    Examples:
        >>> import torch, voxarray as vx
        >>> scan = vx.testing.sample((40, 36, 30))
        >>> def bright(patches):  # logits of two classes
        ...     return torch.cat([300 - patches, patches - 300], dim=1)
        >>> labels = vx.infer(bright, scan, "labels.nii.gz", patch_size=16, overwrite=True)
        >>> labels.count_labels()
        {0: 29736, 1: 13464}

    Args:
        model: A function of patches (N, C, W, H, D), float32, that returns logits (N, K, W, H, D);
            a `torch.nn.Module`, which is put into evaluation mode meanwhile (one whose weights are
            float16, bfloat16 or float64 is given patches of that type), or a method of one; the
            file of a TorchScript, ``torch.export`` or ONNX network; the folder of a MONAI bundle;
            or a list of these, whose outputs are averaged. TorchScript and ``.pt2`` files are
            programs: load only those from sources that you trust. Code in a bundle is not run.
        images: An `Image`, its path, a `Subject`, or a `Cohort`.
        destination: Archive or file to write; its suffix says which format. For a cohort, the
            folder of a new cohort. Without a destination, labels become a layer of the scan's own
            archive, as by `Archive.add_labels`; for a cohort, of the archive of each subject.
            Predictions that are up to date are not made again.
        patch_size: Voxels of a patch along W, H and D, or one number for all. A volume that is
            smaller is padded with zeros.
        overlap: Overlap of neighbouring patches: a fraction of the patch (by default 0.5), or
            voxels (int).
        blend: How overlapping patches are weighted: ``"hann"`` (the default), ``"gaussian"`` with a
            sigma of 1/8 of the patch, as in MONAI and nnU-Net, ``"crop"`` (each voxel comes from
            the patch with the nearest centre), or ``"average"``.
        preprocess: A transform of `voxarray.transforms`, or a function of a subject, that is
            applied lazily first; by default that of a MONAI bundle. Logits are resampled from the
            grid of the preprocessed scan to that of the scan itself, by linear interpolation.
        output: ``"labels"``, ``"probabilities"``, ``"logits"`` or ``"regression"``.
        activation: Function that turns logits into probabilities: ``"softmax"`` (the default), or
            ``"sigmoid"`` for classes that may overlap (the default for one class); ``"none"`` if
            the network returns probabilities. With a sigmoid, labels have one channel per class.
            If ``activation`` is not given and all outputs lie between 0 and 1, they may be
            probabilities already. This is an error where it would change the result: if ``output``
            is ``"probabilities"``, if a ``threshold`` is given, or for labels of one class.
        threshold: Least probability of a label. Voxels whose most probable class is below it become
            0. With a sigmoid it is 0.5 by default, otherwise there is no limit.
        classes: The number of classes; or their names, in the network's order; or a dict in that
            order from labels to names, or to pairs of name and colour (RGB, or ``"#rrggbb"``).
            Without ``classes``, a patch of zeros is predicted first, to count them.
        channels: Names of a subject's images in the order of the network's channels.
        batch_size: Patches that are predicted at once, 1 by default.
        device: Where the network runs, as torch names it; by default where its weights are.
        amp: Use half precision where that is safe.
        flips: Mirrored versions to average over: a list of axes (0, 1, 2) or of tuples of axes that
            are mirrored at once, or ``"all"``.
        accumulate: Type in which overlapping patches are summed: ``"float32"``, or ``"float16"``
            for half of the memory.
        dtype: Type of the result. By default, probabilities are float16 in archives and float32 in
            files. ``"uint8"`` stores them as 0 to 255, where 255 stands for 1.
        layer: Name of the layer, if there is no destination.
        overwrite: Replace an existing destination.
        workers: Processes on this machine for a cohort; each loads the model from its path.
        scheduler: Address of a running dask scheduler, for a cohort.
        partition: ``(i, n)``: only part ``i`` of ``n`` of a cohort's subjects, ``i`` from 1 to
            ``n``.
        executor: Any `concurrent.futures.Executor`, for a cohort.
        progress: True shows a progress bar, False none, None (the default) only in a terminal or
            notebook; or a function of (bytes done, bytes in all).

    Returns:
        The result, not loaded: a `LabelMap` or a `ScalarImage`. For a cohort, the new `Cohort`,
        whose subjects have one image, ``"prediction"``; without a destination, the same cohort,
        whose subjects now have the layer.

    Warns:
        VoxarrayWarning: If the file format cannot hold the names of ``classes``
            (``LABEL_NAMES_LOST``).

    Raises:
        ModelError: If the model cannot be loaded (``BAD_MODEL``, ``NO_NETWORK``, ``NNUNET``,
            ``BAD_WEIGHTS``, ``BUNDLE_TARGET``, ``BUNDLE_EXPRESSION``, ``BUNDLE_TRANSFORM``), fails
            (``MODEL_FAILED``, ``NO_DEVICE``, ``DEVICE_FULL``, ``DEVICE_LOST``), takes another patch
            shape (``FIXED_SHAPE``), returns invalid predictions (``BAD_PREDICTION``,
            ``CLASSES_CHANGED``, ``NAN_PREDICTION``) or other classes than the rest of an ensemble
            (``ENSEMBLE_DIFFERS``), or if ``activation`` is not given and its outputs look like
            probabilities (``PROBABILITIES``).
        StateError: If no destination is given and the result cannot become a layer of the scan's
            archive (``NO_DESTINATION``), or images do not fit (``MISSING_CHANNELS``,
            ``CHANNELS_UNNAMED``, ``CHANNELS_REPEATED``, ``GRIDS_DIFFER``).
        FormatError: If a transform of ``preprocess`` does not fit the images, such as a mask that
            they do not have (``CANNOT_TRANSFORM``).
        UnsupportedError: If the preprocessing cannot be undone (``NOT_INVERTIBLE``), or two classes
            have one name (``CLASSES_REPEATED``).
        MemoryBudgetError: If patches and predictions alone exceed the budget; nothing was read. Or
            if the system gives the model no more memory (``OUT_OF_MEMORY``); the error names the
            patch.
        ArchiveError: If the scratch exceeds the disk (``NO_SPACE``); nothing was read.
        ArchiveExistsError: If the destination exists and ``overwrite`` is not set, or a layer has
            the name (``NAME_TAKEN``).
        VoxarrayError: If subjects of a cohort failed (``SOME_FAILED``), or no worker started
            (``NO_MAIN_GUARD``, ``NO_WORKERS``).
        KeyboardInterrupt: If Ctrl-C ended the run. Of a cohort, the subjects that are done stay:
            call this again to go on.
        SystemExit: As for Ctrl-C, if another signal ended a run over a cohort (exit code 75).
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
    transform = InferenceTransform(model, options, classes, preprocess, device)
    if destination is None and overwrite:
        raise UnsupportedError(
            "overwrite= cannot replace a label map of an archive: remove it first, by "
            f"remove_labels({layer!r}) of vx.Archive, or give another name as layer=",
            code="UNUSED_KEYWORD",
        )
    if isinstance(images, Cohort):
        if destination is None:
            return add_layers(
                transform,
                images,
                layer,
                workers=workers,
                scheduler=scheduler,
                partition=partition,
                executor=executor,
                progress=progress,
            )
        return images.map(transform).save(
            destination,
            workers=workers,
            scheduler=scheduler,
            partition=partition,
            executor=executor,
            overwrite=overwrite,
            progress=progress,
        )
    if workers or scheduler or partition or executor:
        raise UnsupportedError(
            "workers=, scheduler=, partition= and executor= divide a cohort, and this is one scan: "
            "leave them out",
            code="UNUSED_KEYWORD",
        )
    if destination is None:
        return add_layer(transform, subject_of(images), layer, progress)
    work = Inference.of(loaded(model), options, classes, preprocess, device)
    return work.write(images, destination, overwrite=overwrite, progress=progress)
