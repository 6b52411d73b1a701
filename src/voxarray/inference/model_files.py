"""Networks from files: TorchScript, torch.export, ONNX. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import MissingFileError, ModelError, VoxarrayWarning
from voxarray.core.optional import import_optional

Network = Callable[[torch.Tensor], torch.Tensor]


def network_of(path: str) -> Network:
    """The network in a file.

    Args:
        path: TorchScript, a program of ``torch.export``, or ONNX.

    Raises:
        ModelError: If it is none of these (``BAD_MODEL``), or holds weights without a network
            (``NO_NETWORK``).
        MissingPackageError: For ONNX without onnxruntime.
        MissingFileError: If there is no such file.

    Warns:
        VoxarrayWarning: The file is a program: loading it is as good as running it.
    """
    if not os.path.isfile(path):
        raise MissingFileError(f"there is no model {path}: check the path", path=path)
    if path.lower().endswith(".onnx"):
        return OnnxNetwork.of(path)
    kind = _kind(path)
    if kind == "weights":
        raise ModelError(
            f"{path} holds only weights, and the class of the network is needed to use them: "
            "pass the folder of its MONAI bundle, or a file that torch.jit, torch.export or "
            "torch.onnx made of the network; or, from Python, the module after "
            "module.load_state_dict",
            code="NO_NETWORK",
            path=path,
        )
    warn_caller(
        f"{path} is a program, not only numbers: load only models from sources that you trust",
        VoxarrayWarning,
    )
    try:
        if kind == "program":
            return ExportedNetwork.of(path)
        script: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        return cast(Network, script.eval())
    except ModelError:
        raise
    except Exception as error:  # torch, json and zip tell of damage in many ways
        raise _damaged(path, error) from error


def _kind(path: str) -> str:
    """``"script"``, ``"program"`` or ``"weights"``, by the names in the file."""
    if path.lower().endswith(".safetensors"):
        return "weights"
    try:
        with zipfile.ZipFile(path) as file:
            names = ["/" + name for name in file.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, error) from error
    if any("/code/" in name for name in names):
        return "script"
    if any(
        name.endswith(("/archive_format", "serialized_exported_program.json")) for name in names
    ):
        return "program"
    if any("/models/" in name and name.endswith(".json") for name in names):
        return "program"
    return "weights"


def _damaged(path: str, error: Exception) -> ModelError:
    text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    return ModelError(
        f"{path} is not a model that can be loaded ({text}): expected TorchScript, a program of "
        "torch.export, or ONNX",
        path=path,
    )


@dataclass
class ExportedNetwork:
    """A program of ``torch.export``.

    Attributes:
        path: The file.
        program: What was read from it.
        shape: Of its input; None where a size may be any, or any of some.
        dtype: Of its input.
    """

    path: str
    program: Any
    shape: tuple[int | None, ...]
    dtype: torch.dtype
    _modules: dict[torch.device, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str) -> ExportedNetwork:
        """Load a program: it must have one input with five axes.

        Raises:
            ModelError: If it has not (``BAD_MODEL``).
        """
        program: Any = torch.export.load(path)
        names = program.graph_signature.user_inputs
        nodes = {node.name: node.meta.get("val") for node in program.graph.nodes}
        inputs = [nodes.get(name) for name in names]
        if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim != 5:
            shapes = [tuple(getattr(value, "shape", ())) for value in inputs]
            raise _unfit_inputs(path, list(zip(names, shapes, strict=True)))
        shape = tuple(n if isinstance(n, int) else None for n in inputs[0].shape)
        return cls(path, program, shape, inputs[0].dtype)

    @property
    def fixed_batch(self) -> int | None:
        """Patches that it takes at once, if it takes no other number."""
        return self.shape[0]

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        filled = fitted(self.path, self.shape, batch)
        try:
            output: torch.Tensor = self._module(batch.device)(filled.to(self.dtype))
        except AssertionError as error:
            # Sizes may be bound to each other, or to a range: only the program knows.
            if not str(error).startswith("Guard failed"):
                raise
            raise ModelError(
                f"{self.path} refuses a batch of the shape {list(filled.shape)} ({error}): change "
                "patch_size or batch_size, or export the model with dynamic shapes that allow "
                "these sizes",
                code="FIXED_SHAPE",
                path=self.path,
            ) from error
        return _without_filling(output, filled, batch)

    def _module(self, device: torch.device) -> Any:
        if device not in self._modules:
            # It was exported in one mode, and refuses to be put into another.
            self._modules[device] = self.program.module().to(device)
        return self._modules[device]


@dataclass
class OnnxNetwork:
    """A network that onnxruntime runs.

    Attributes:
        path: The file.
    """

    path: str

    @classmethod
    def of(cls, path: str) -> OnnxNetwork:
        """Look at a file: it must have one input with five axes.

        Raises:
            ModelError: If it has not (``BAD_MODEL``).
        """
        network = cls(path)
        network._open("cpu")
        return network

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the classes, if the file has them as JSON under ``class_names``."""
        texts = self._open("cpu").get_modelmeta().custom_metadata_map
        try:
            names = json.loads(texts.get("class_names", "{}"))
            return {int(value): str(name) for value, name in names.items()}
        except (ValueError, AttributeError):
            return {}

    @property
    def fixed_batch(self) -> int | None:
        """Patches that it takes at once, if it takes no other number."""
        size = self._open("cpu").get_inputs()[0].shape[0]
        return size if isinstance(size, int) else None

    def __getstate__(self) -> Mapping[str, Any]:
        return {"path": self.path}

    def _open(self, device: str) -> Any:
        opened: dict[str, Any] = self.__dict__.setdefault("_opened", {})
        if device in opened:
            return opened[device]
        runtime = import_optional("onnxruntime", "voxarray[onnx]")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = ["CPUExecutionProvider"]
        if device == "cuda":
            if "CUDAExecutionProvider" not in runtime.get_available_providers():
                raise ModelError(
                    "this onnxruntime cannot use a GPU: install onnxruntime-gpu, or use "
                    "device='cpu'",
                    code="NO_DEVICE",
                )
            providers.insert(0, "CUDAExecutionProvider")
        try:
            session = runtime.InferenceSession(self.path, options, providers=providers)
        except Exception as error:  # onnxruntime has no public base of its errors
            raise _damaged(self.path, error) from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 5:
            raise _unfit_inputs(self.path, [(item.name, item.shape) for item in inputs])
        opened[device] = session
        return session

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        session = self._open(batch.device.type)
        (network_input,) = session.get_inputs()
        filled = fitted(self.path, network_input.shape, batch)
        half = network_input.type == "tensor(float16)"
        array = filled.detach().cpu().numpy().astype(np.float16 if half else np.float32, copy=False)
        outputs = session.run(None, {network_input.name: np.ascontiguousarray(array)})
        if len(outputs) != 1:
            names = [item.name for item in session.get_outputs()]
            raise ModelError(
                f"{self.path} has the outputs {names}: expected one; export the model with one "
                "output",
                code="BAD_PREDICTION",
            )
        return _without_filling(torch.from_numpy(np.asarray(outputs[0])), filled, batch)


def _unfit_inputs(path: str, inputs: list[Any]) -> ModelError:
    return ModelError(
        f"{path} has the inputs {inputs}: expected one, (N, C, W, H, D); export the model with one "
        "input",
        path=path,
    )


def fitted(path: str, expected: Sequence[Any], batch: torch.Tensor) -> torch.Tensor:
    """A batch as a network with fixed sizes takes it: the last one of a volume may have to be
    filled up with zeros.

    Args:
        path: Of the network.
        expected: Sizes of its input; what is no number may be any.
        batch: (N, C, W, H, D).

    Raises:
        ModelError: If another size than that of the batch is fixed and does not fit, or more
            patches come than it takes (``FIXED_SHAPE``).
    """
    pairs = list(zip(batch.shape, expected, strict=True))
    wrong = [n for n, (has, wants) in enumerate(pairs) if isinstance(wants, int) and wants != has]
    has, wants = pairs[0]
    missing = wants - has if 0 in wrong else 0
    if missing > 0:
        wrong.remove(0)
    if not wrong:
        filling = batch.new_zeros(max(0, missing), *batch.shape[1:])
        return torch.cat([batch, filling]) if missing else batch
    option = {0: "batch_size", 1: "channels"}.get(wrong[0], "patch_size")
    sizes = ", ".join(str(n) if isinstance(n, int) else "any" for n in expected)
    raise ModelError(
        f"{path} takes only batches of the shape [{sizes}], but was given {list(batch.shape)}: "
        f"change {option}, or export the model with dynamic axes",
        code="FIXED_SHAPE",
        path=path,
    )


def _without_filling(
    output: torch.Tensor, filled: torch.Tensor, batch: torch.Tensor
) -> torch.Tensor:
    # Only of as many as were given: another number is a fault, which cutting would hide.
    as_many = output.ndim > 0 and len(output) == len(filled)
    return output[: len(batch)] if as_many else output


def file_digest(*paths: str) -> str:
    """sha256 of one file, or of several one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
