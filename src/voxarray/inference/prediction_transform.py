"""A model as a transform of subjects, so that a cohort is predicted as it is preprocessed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.metadata import Kind, Label
from voxarray.cohort.mapped_opener import MakesNamedImages
from voxarray.cohort.plan.described import described
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Shape4
from voxarray.image import LabelMap, ScalarImage
from voxarray.inference.inference import Inference
from voxarray.inference.loading import LoadedModel, loaded
from voxarray.inference.network_input import Scan
from voxarray.inference.one_pass import OnePass
from voxarray.inference.options import InferenceOptions
from voxarray.inference.placement import Placement
from voxarray.source.base import (
    Channels,
    OriginalHeader,
    SequentialReads,
    Source,
    VoxelStream,
    digest,
)
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject

PREDICTION = "prediction"
"""Name of what is made of each subject."""

_TARGET = f"{PREDICTION}.ome.zarr"


class InferenceTransform(MakesNamedImages):
    """Makes of a subject another one with the prediction alone; nothing is predicted yet.

    It travels to workers with the path of the model, which each loads for itself.

    Args:
        model: As of `infer`.
        options: What is computed.
        classes: As of `infer`.
        preprocess: As of `infer`.
        device: As of `infer`.
    """

    version = 1
    args_names = ("model", "options", "classes", "preprocess")

    def __init__(
        self,
        model: Any,
        options: InferenceOptions,
        classes: Any = None,
        preprocess: Callable[[Any], Any] | None = None,
        device: Any = None,
    ) -> None:
        self._arguments = (model, options, classes, preprocess, device)
        self._loaded: LoadedModel | None = None
        self._inference: Inference | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def __repr__(self) -> str:
        return f"infer({self._arguments[0]!r})"

    @property
    def inference(self) -> Inference:
        """The model, loaded at first use in each process."""
        if self._inference is None:
            model, options, classes, preprocess, device = self._arguments
            self._inference = Inference.of(loaded(model), options, classes, preprocess, device)
        return self._inference

    @property
    def makes(self) -> dict[str, Kind]:
        """The prediction alone; the model is not loaded for it."""
        options: InferenceOptions = self._arguments[1]
        return {PREDICTION: "label" if options.output == "labels" else "intensity"}

    def label_maps_used(self, subject: Subject) -> set[str]:
        """Those that are channels, or that preprocessing asks for; all, if it may look at any."""
        scan = self.inference.scan(subject)
        return {*scan.channels, *scan.others, *scan.perhaps_used}

    @property
    def arguments(self) -> dict[str, Any]:
        """What makes another prediction when it changes: not the device, nor where the model is."""
        work = self.inference
        return {
            "model": work.model.digest,
            "options": work.options.recorded(),
            "classes": [[label.value, label.name, label.colour] for label in work.classes.table]
            or work.classes.count,
            "preprocess": None if work.preprocess is None else described(work.preprocess),
        }

    def __call__(self, subject: Subject) -> Subject:
        """The subject of the prediction; reads nothing."""
        return self.of_scan(self.inference.scan(subject))

    def of_scan(self, scan: Scan) -> Subject:
        """As for its subject, which need not be planned twice."""
        work = self.inference
        source = SlicedSource.of(LazyPrediction(work, scan)).recorded(work.entry(scan))
        kind = LabelMap if work.makes_labels else ScalarImage
        empty = kind(tensor=np.zeros((1, 1, 1, 1), np.uint8))
        return Subject({PREDICTION: empty._on(source)})


@dataclass(frozen=True, eq=False)
class LazyPrediction(OnePass):
    """A prediction that is made when it is written.

    Attributes:
        inference: What is to be done.
        scan: With what.
        is_stored: Whether voxels come as they are stored, without a scaling.
    """

    inference: Inference
    scan: Scan
    is_stored: bool = False

    @property
    def shape(self) -> Shape4:
        return (self._channels, *self.scan.native.shape)

    @property
    def dtype(self) -> np.dtype:
        stored = self._reduction.dtype
        return stored if self.scaling is None else self.scaling.dtype(stored)

    @property
    def native(self) -> Grid:
        return self.scan.native

    @property
    def channels(self) -> Channels:
        return Channels("channel")

    @property
    def scaling(self) -> Scaling | None:
        return None if self.is_stored else self.inference.options.scaling(self._reduction)

    @property
    def path(self) -> str | None:
        return self.scan.path

    @property
    def inputs(self) -> tuple[Source, ...]:
        return self.scan.network_input.sources

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.scan.origin

    @property
    def label_table(self) -> tuple[Label, ...]:
        """Names and colours of labels, for the archive."""
        return self.inference.label_table(self._channels)

    @property
    def working_bytes(self) -> int:
        return self.placement.peak

    @cached_property
    def placement(self) -> Placement:
        """Where everything is held; found once."""
        return self.inference.placement(self.scan, _TARGET)

    @property
    def _classes(self) -> int:
        return self.inference.count(self.scan)

    @property
    def _reduction(self) -> Any:
        work = self.inference
        return work.options.reduction(self._classes, work.classes.values)

    @property
    def _channels(self) -> int:
        return int(self._reduction.channels(self._classes))

    def unscaled(self) -> LazyPrediction:
        return replace(self, is_stored=True)

    def stream(self) -> VoxelStream:
        return _Stream(self)

    def token(self) -> str:
        tokens = [source.token() for source in self.scan.network_input.sources]
        return digest("prediction", self.inference.model.digest, tokens, self.is_stored)


class _Stream(VoxelStream):
    """Begins to predict when the first voxels are asked for."""

    def __init__(self, source: LazyPrediction) -> None:
        self._stack = ExitStack()
        self._source = source
        self._stream: VoxelStream | None = None

    def read_into(self, out: NDArray) -> None:
        if self._stream is None:
            lazy = self._source
            source = self._stack.enter_context(
                lazy.inference.result(lazy.scan, lazy.placement, "", False)
            )
            ready = SlicedSource.of(source).base
            if lazy.is_stored:
                ready = ready.unscaled()
            is_ordered = type(ready).stream is not Source.stream
            stream = ready.stream() if is_ordered else SequentialReads(ready)
            self._stream = self._stack.enter_context(stream)
        self._stream.read_into(out)

    def finish(self) -> None:
        if self._stream is not None:
            self._stream.finish()

    def close(self) -> None:
        self._stack.close()
