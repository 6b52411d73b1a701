"""A model as a function of patches: on a device, checked, averaged over flips and an ensemble."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voxarray.core.errors import MemoryBudgetError, ModelError, VoxarrayError
from voxarray.inference.flips import parsed_flips
from voxarray.inference.logit_checks import require_at_most, require_float32, require_numbers

Model = Callable[[torch.Tensor], torch.Tensor]

_changing = threading.Lock()
_uses: dict[int, tuple[int, list[tuple[torch.nn.Module, bool]]]] = {}
"""How often a module is in use, by its identity, and the modes of its parts before that."""

_FULL = (
    "DefaultCPUAllocator",
    "Failed to allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",  # of cuBLAS and cuDNN
)
"""What torch's, CUDA's and onnxruntime's allocators say, which raise no class of their own."""

_DEVICES = ("CUDA", "cuDNN", "CUDNN", "CUBLAS", "NVIDIA", "HIP", "MPS", "MIOpen")
"""Words in errors that are the device's, and not the model's."""

_TYPES_DIFFER = ("dtype", "scalar type", "should be the same", "data type")
"""Words in what torch raises for weights of another type than the patch."""


class Network:
    """Predicts batches of patches.

    Args:
        models: Functions (N, C, W, H, D) -> (N, K, W, H, D); the mean of several is taken.
        flips: Of the axes W, H and D: 0, 1, 2 or ``"x"``, ``"y"``, ``"z"``, or several that are
            flipped at once; ``"all"`` is every combination. The mean over the patch and its
            mirrored versions is taken.
        device: Where models are run; None where they are, or on the processor.
        amp: Run in half precision where that is safe (`torch.autocast`).
        largest: Size of the largest number that sums can hold; None if any.
        may_be_infinite: Whether infinity stays what it is, for nothing is interpolated.
    """

    def __init__(
        self,
        models: Sequence[Model],
        flips: Sequence[Any] | str = (),
        device: Any = None,
        amp: bool = False,
        largest: float | None = None,
        may_be_infinite: bool = True,
    ) -> None:
        self._models = list(models)
        self._largest, self._may_be_infinite = largest, may_be_infinite
        self.flips = parsed_flips(flips)
        self.device = _device(device, models)
        self._amp = amp
        self.classes: int | None = None
        self._takes_own_type: set[int] = set()

    @property
    def is_on_card(self) -> bool:
        """Whether models run on a CUDA device, which works beside this process."""
        return self.device.type == "cuda"

    @property
    def predictions_held(self) -> int:
        """Predictions held at once: of several, the sum, one more, and its mirror image."""
        return 1 if len(self._models) * (1 + len(self.flips)) == 1 else 3

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Models in evaluation mode and on the device; modes are put back after the last use.

        Scans may be predicted at once, in threads and by several networks of one model: the first
        to come prepares, the last puts back.
        """
        _require_there(self.device)
        if self.is_on_card and self.device.index is None:
            # Which is current is a matter of each thread, and archives are written by another.
            self.device = torch.device("cuda", torch.cuda.current_device())
        with ExitStack() as stack:
            for model in self._models:
                if (module := _module_of(model)) is not None:
                    stack.enter_context(_evaluating(module))
                    with naming_device(self.device):
                        module.to(self.device)
            yield

    def predict(
        self, patches: NDArray[np.float32], where: Callable[[], str], *, may_be_nan: bool = False
    ) -> torch.Tensor:
        """Logits (N, K, w, h, d) of patches (N, C, w, h, d), float32 in RAM.

        Args:
            patches: Contiguous.
            where: Names the patches, for messages.
            may_be_nan: Whether NaN is let through.

        Raises:
            ModelError: If a model raises (``MODEL_FAILED``), or returns another shape
                (``BAD_PREDICTION``), another number of classes than before (``CLASSES_CHANGED``)
                or than other members (``ENSEMBLE_DIFFERS``),
                NaN (``NAN_PREDICTION``), infinity (``INFINITE_PREDICTION``) or what its sums cannot
                hold (``LARGE_PREDICTION``); ``DEVICE_FULL`` and ``DEVICE_LOST``.
            MemoryBudgetError: If the system gives a model no more memory (``OUT_OF_MEMORY``).
        """
        logits = self.launch(torch.from_numpy(patches), where)
        with naming_device(self.device, where):
            logits = logits.cpu()
        return self.accepted(logits, lambda: patches, where, may_be_nan=may_be_nan)

    def launch(
        self,
        batch: torch.Tensor,
        where: Callable[[], str],
        copies: Callable[[], None] | None = None,
    ) -> torch.Tensor:
        """Logits (N, K, w, h, d), float32, where the model leaves them: on the device, mostly.

        Nothing waits for a graphics card: what it goes wrong with may be raised later.

        Args:
            batch: Patches (N, C, w, h, d) in RAM.
            where: Names them, for messages.
            copies: Told when their copy to the device was queued, which then is not waited for.

        Raises:
            ModelError, MemoryBudgetError: As `predict`, for what can be told without the numbers.
        """
        total = torch.zeros(())
        views = [(), *self.flips]
        several = len(self._models) * len(views) > 1
        autocast = torch.autocast(self.device.type) if self._amp else nullcontext()
        # Views, copies and sums of predictions may find no memory, too.
        with torch.inference_mode(), autocast, naming_device(self.device, where):
            batch = batch.to(self.device, non_blocking=copies is not None)
            if copies is not None:
                copies()
            for number, (model, axes) in enumerate(itertools.product(self._models, views)):
                dims = [axis + 2 for axis in axes]
                # Each of several has its own: a model may change what it is given.
                view = batch.flip(dims) if dims else batch.clone() if several else batch
                logits = self._checked(model, view, where)
                logits = logits.flip(dims) if dims else logits
                if number and logits.shape[1] != total.shape[1]:
                    raise ModelError(
                        f"model {number // len(views) + 1} of the ensemble returned predictions "
                        f"of shape {tuple(logits.shape)} for {where()}, but the models before it "
                        f"returned {tuple(total.shape)}: all models of an ensemble must predict "
                        "the same classes (second axis)",
                        code="ENSEMBLE_DIFFERS",
                    )
                if number:
                    total += logits
                else:
                    # Of half precision, sums of several would be rounded, or too large for it. The
                    # sum has memory of its own: the next call may write into that of this one.
                    total = logits.clone().float() if several else logits
            if several:
                total = total / (len(self._models) * len(views))
            return total.float()

    def accepted(
        self,
        logits: torch.Tensor,
        patches: Callable[[], NDArray[np.float32]],
        where: Callable[[], str],
        *,
        may_be_nan: bool = False,
    ) -> torch.Tensor:
        """The same logits, in RAM, if they are what sums and reductions can take.

        Args:
            logits: (N, K, w, h, d), float32.
            patches: What the model was given, looked at if NaN came back.
            where: Names them, for messages.
            may_be_nan: Whether NaN is let through.

        Raises:
            ModelError: As `predict`.
        """
        if self.classes is not None and logits.shape[1] != self.classes:
            raise ModelError(
                f"the model returned a tensor of shape {tuple(logits.shape)} for {where()}: "
                f"expected {self.classes} as the size of the second axis, which is the number of "
                "classes",
                code="CLASSES_CHANGED",
            )
        self.classes = logits.shape[1]
        if not may_be_nan:
            require_numbers(logits, patches, where, self._may_be_infinite)
            if self._largest is not None:
                require_at_most(self._largest, logits, where)
        return logits

    def _checked(self, model: Model, batch: torch.Tensor, where: Callable[[], str]) -> torch.Tensor:
        try:
            output = self._called(model, batch)
        except VoxarrayError:
            raise
        except Exception as error:  # whatever a model of the user raises
            raise _blamed(error, where) from error
        if isinstance(output, np.ndarray) and output.dtype.kind in "biuf":
            native = output.dtype.newbyteorder("=")
            output = torch.from_numpy(np.ascontiguousarray(output, native))
        if isinstance(output, torch.Tensor):
            output = output.detach()
            output = output if output.layout == torch.strided else output.to_dense()
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the model returned {type(output).__name__} for {where()}: expected one tensor "
                "(N, K, W, H, D); if the network has several outputs, give a function that "
                "returns one of them",
                code="BAD_PREDICTION",
            )
        fits = output.ndim == 5 and output.shape[0] == batch.shape[0]
        if not fits or output.shape[2:] != batch.shape[2:]:
            raise ModelError(
                f"the model returned a tensor of shape {tuple(output.shape)} for {where()}, a "
                f"batch of shape {tuple(batch.shape)}: expected ({batch.shape[0]}, K, "
                f"{', '.join(str(n) for n in batch.shape[2:])}), the same voxels for K classes; "
                "choose a patch_size for which the network returns patches of the same size",
                code="BAD_PREDICTION",
            )
        if output.shape[1] < 1 or output.is_complex():
            raise ModelError(
                f"the model returned {output.dtype} numbers of shape {tuple(output.shape)} for "
                f"{where()}: expected real numbers for one class at least",
                code="BAD_PREDICTION",
            )
        is_whole = not output.is_floating_point() and output.dtype != torch.bool
        if output.shape[1] == 1 and is_whole:
            raise ModelError(
                f"the model returned {output.dtype} numbers of one class for {where()}, which "
                "look like labels: expected a number for each class, before any arg-max. If the "
                "labels themselves are the result, return them as floats with output='regression'",
                code="BAD_PREDICTION",
            )
        require_float32(output, where)
        return output

    def _called(self, model: Model, batch: torch.Tensor) -> Any:
        """What a model returns; one that is all float16, bfloat16 or float64 is given its type."""
        dtype = _dtype_of_weights(model)
        if id(model) in self._takes_own_type:
            return model(batch.to(dtype))
        try:
            return model(batch)
        except RuntimeError as error:
            # Not before: a module may well normalise in float32, and go on in half precision.
            if dtype == torch.float32 or not any(phrase in str(error) for phrase in _TYPES_DIFFER):
                raise
        output = model(batch.to(dtype))
        self._takes_own_type.add(id(model))
        return output


def _module_of(model: Model) -> torch.nn.Module | None:
    """The module that a model is, or whose method it is, with arguments given in advance or not."""
    while isinstance(model, partial):
        model = model.func
    owner = getattr(model, "__self__", model)
    return owner if isinstance(owner, torch.nn.Module) else None


def _dtype_of_weights(model: Model) -> torch.dtype:
    """Type of the first weights, which see the patch; float32 where there are none."""
    if (module := _module_of(model)) is not None:
        for weights in module.parameters():
            if weights.is_floating_point():
                return weights.dtype
    return torch.float32


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    key = id(module)  # of one that lives as long as this does
    with _changing:
        count, modes = _uses.get(key) or (0, [(part, part.training) for part in module.modules()])
        _uses[key] = count + 1, modes
        module.eval()
    try:
        yield
    finally:
        with _changing:
            count, modes = _uses.pop(key)
            if count > 1:
                _uses[key] = count - 1, modes
            else:
                for part, training in modes:
                    part.training = training


@contextmanager
def naming_device(device: Any, where: Callable[[], str] | None = None) -> Iterator[None]:
    """Errors of torch that are the device's become ours, and say where they came up."""
    try:
        yield
    except VoxarrayError:
        raise
    except (RuntimeError, AssertionError, MemoryError) as error:
        raise _blamed(error, where or (lambda: f"device {device}")) from error


def _device(device: Any, models: Sequence[Model]) -> torch.device:
    """Where to run: as told, else where the first model's weights are."""
    if device is not None:
        try:
            return torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise _no_device(device, error) from None
    for model in models:
        if (module := _module_of(model)) is not None:
            for weights in module.parameters():
                return weights.device
    return torch.device("cpu")


def _require_there(device: torch.device) -> None:
    """Refuse a device that this machine has not, or that keeps no numbers, before it is used.

    Raises:
        ModelError: ``NO_DEVICE``; or ``DEVICE_FULL``.
    """
    if device.type == "cpu":
        return
    try:
        torch.zeros(1, device=device).cpu()
    except torch.OutOfMemoryError as error:
        raise _blamed(error, lambda: f"device {device}") from error
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _no_device(str(device), error) from error


def _no_device(device: Any, error: Exception) -> ModelError:
    text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return ModelError(
        f"the device {device!r} does not exist or does not work on this machine ({text}): name "
        'one as torch does, such as "cpu" or "cuda:0"; for several GPUs, start one process '
        "for each GPU, and give each process a part of the cohort (partition=, --partition)",
        code="NO_DEVICE",
    )


def _blamed(error: Exception, where: Callable[[], str]) -> VoxarrayError:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # TorchScript begins with its own stack, and says last what went wrong.
    text = lines[-1 if "TorchScript interpreter" in lines[0] else 0][:500]
    if isinstance(error, MemoryError):
        return MemoryBudgetError(
            f"the system gave the model no more memory for {where()} ({text}): use a smaller "
            "batch_size or patch_size, or fewer workers",
            code="OUT_OF_MEMORY",
        )
    if isinstance(error, torch.OutOfMemoryError) or any(phrase in str(error) for phrase in _FULL):
        return ModelError(
            f"the device has no memory left for {where()} ({text}): use a smaller batch_size or "
            "patch_size, or another device",
            code="DEVICE_FULL",
        )
    if any(name in text for name in _DEVICES):
        return ModelError(
            f"the device failed at {where()} ({text}): check it (nvidia-smi), or use another one",
            code="DEVICE_LOST",
        )
    return ModelError(
        f"the model raised {type(error).__name__} for {where()}: {text}. Check that the model "
        "takes such a batch, and correct the model or patch_size",
        code="MODEL_FAILED",
    )
