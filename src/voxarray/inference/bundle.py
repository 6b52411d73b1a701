"""MONAI bundles: network, weights, sliding window and preprocessing, from their configuration.

A bundle's configuration is a program: ``_target_`` names any class, and texts that begin with ``$``
are Python. Neither is run here. Networks come from a list of MONAI's own; expressions are refused,
but for plain numbers; transforms become ours where we have them, and are named where we have not.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from voxarray.core.errors import MissingFileError, ModelError
from voxarray.core.optional import import_optional

NETWORKS = (
    "AttentionUnet",
    "BasicUNet",
    "BasicUNetPlusPlus",
    "BasicUnet",
    "DynUNet",
    "DynUnet",
    "FlexibleUNet",
    "HighResNet",
    "SegResNet",
    "SegResNetDS",
    "SegResNetVAE",
    "SwinUNETR",
    "UNETR",
    "UNet",
    "Unet",
    "VNet",
)
"""Classes of `monai.networks.nets` that a bundle may name."""

_BLENDS = {"constant": "average", "gaussian": "gaussian"}
_WITHOUT_EFFECT = (
    *("progress", "device", "sw_device", "cache_roi_weight_map", "cpu_thresh", "buffer_steps"),
    *("buffer_dim", "_desc_", "_requires_"),
)
"""Arguments of MONAI's inferer that do not change what is predicted."""

_INFERER = {
    **dict.fromkeys(("_target_", "roi_size", "overlap", "sw_batch_size", "mode")),
    "padding_mode": ("constant",),
    "cval": (0,),
    "sigma_scale": (0.125,),
    "roi_weight_map": (None,),
    "with_coord": (False,),
}
"""Arguments that are heeded, and of others the values that agree with what is done here."""

_POSTPROCESSING = (
    *("Activationsd", "AsDiscreted", "Invertd", "SaveImaged", "EnsureTyped", "ToTensord"),
    *("ToDeviced", "CastToTyped", "DeleteItemsd", "SelectItemsd", "Identityd"),
)
"""Steps after the network that happen here, too, or that have nothing to do with voxels."""

_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
_REFERENCE = re.compile(r"@[\w#:]+")


@dataclass(frozen=True)
class Bundle:
    """The folder of a bundle.

    Attributes:
        folder: It holds ``configs`` and ``models``.
    """

    folder: str

    @cached_property
    def config_path(self) -> str:
        """The configuration of inference.

        Raises:
            MissingFileError: If there is none.
        """
        for name in _CONFIGS:
            path = os.path.join(self.folder, "configs", name)
            if os.path.isfile(path):
                return path
        raise MissingFileError(
            f"{self.folder} is not a MONAI bundle: its folder configs has none of "
            f"{', '.join(_CONFIGS)}",
            path=self.folder,
        )

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration of inference, as it is written."""
        return _parsed(self.config_path)

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """``metadata.json``; empty if there is none."""
        path = os.path.join(self.folder, "configs", "metadata.json")
        return _parsed(path) if os.path.isfile(path) else {}

    @cached_property
    def weights_path(self) -> str:
        """The file of weights, or of the network in TorchScript.

        Raises:
            MissingFileError: If there is none.
        """
        names = ["model.safetensors", "model.pt", "model.pth", "model.ts"]
        if "network_def" not in self.config:
            names.reverse()
        for name in names:
            path = os.path.join(self.folder, "models", name)
            if os.path.isfile(path):
                return path
        raise MissingFileError(
            f"{self.folder} has no weights: expected one of models/{', models/'.join(names)}; a "
            "bundle's large files are fetched with monai.bundle.download",
            path=self.folder,
        )

    @property
    def files(self) -> list[str]:
        """What decides on the result."""
        return [self.config_path, self.weights_path]

    # --- The network ------------------------------------------------------------------------------

    @property
    def network(self) -> tuple[type, Mapping[str, Any]]:
        """Class and arguments of the network.

        Raises:
            ModelError: If the class is not on the list (``BUNDLE_TARGET``), or an argument is an
                expression (``BUNDLE_EXPRESSION``).
            MissingPackageError: If MONAI is not installed.
        """
        arguments = dict(self._resolved("network_def"))
        target = str(arguments.pop("_target_", ""))
        name = target.rsplit(".", 1)[-1]
        if name not in NETWORKS or not re.fullmatch(
            r"(monai\.networks\.nets\.(\w+\.)?)?\w+", target
        ):
            raise ModelError(
                f"{self.config_path} names the network {target!r}, which is none of "
                f"{', '.join(NETWORKS)} of monai.networks.nets: build it yourself, load the "
                "weights into it, and pass the module",
                code="BUNDLE_TARGET",
                path=self.config_path,
            )
        nets = import_optional("monai.networks.nets", "monai")
        return getattr(nets, name), arguments

    # --- Settings ---------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `infer` that the bundle brings along."""
        settings: dict[str, Any] = {}
        if "inferer" in self.config:
            inferer = self._inferer
            target = str(inferer.get("_target_", ""))
            if target.rsplit(".", 1)[-1] != "SlidingWindowInferer":
                raise ModelError(
                    f"{self.config_path} has the inferer {target!r}, and voxarray knows only "
                    "SlidingWindowInferer: build the network yourself, load the weights into it, "
                    "and pass the module",
                    code="BUNDLE_TARGET",
                    path=self.config_path,
                )
            settings["patch_size"] = inferer.get("roi_size")
            settings["overlap"] = inferer.get("overlap", 0.25)
            settings["batch_size"] = inferer.get("sw_batch_size", 1)
            mode = str(inferer.get("mode", "constant"))
            settings["blend"] = _BLENDS.get(mode)
            if settings["blend"] is None:
                raise ModelError(
                    f"{self.config_path} blends windows by {mode!r}: expected constant or "
                    "gaussian; change it in the file",
                    code="BUNDLE_TARGET",
                    path=self.config_path,
                )
        for step in self._steps("postprocessing"):
            name = _name(step)
            if name == "Activationsd" and step.get("sigmoid") is True:
                settings["activation"] = "sigmoid"
            if name == "AsDiscreted" and isinstance(step.get("threshold"), float):
                settings["threshold"] = step["threshold"]
        return settings

    @property
    def left_out(self) -> list[str]:
        """What the bundle asks for besides and is not done, as far as the result depends on it."""
        ignored = []
        for name, value in (self._inferer if "inferer" in self.config else {}).items():
            agrees = _INFERER.get(name, ())
            if agrees is not None and value not in agrees:
                ignored.append(f"the setting {name}={value!r} of the inferer")
        steps = [s for s in self._steps("postprocessing") if s.get("_disabled_") is not True]
        unsupported = [_name(step) for step in steps if _name(step) not in _POSTPROCESSING]
        return [*ignored, *(f"the step {name} after the network" for name in unsupported)]

    @property
    def _inferer(self) -> Mapping[str, Any]:
        value: Any = self.config["inferer"]
        if isinstance(value, str) and _REFERENCE.fullmatch(value):
            value = self._looked_up(value)
        if not isinstance(value, Mapping):
            raise self._refused("inferer", repr(value))
        # Where it runs is often an expression, and does not matter.
        relevant = {key: item for key, item in value.items() if key not in _WITHOUT_EFFECT}
        return dict(self._plain(relevant, "inferer"))

    @property
    def class_names(self) -> dict[int, str]:
        """Names of the classes by label, if the metadata say so."""
        outputs = self._data_format("outputs")
        names: Mapping[str, Any] = next(filter(None, (o.get("channel_def") for o in outputs)), {})
        return {int(value): str(name) for value, name in names.items()}

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels in order, where there are several."""
        inputs = self._data_format("inputs")
        names: Mapping[str, Any] = next(filter(None, (i.get("channel_def") for i in inputs)), {})
        return tuple(str(names[key]) for key in sorted(names, key=int)) if len(names) > 1 else ()

    def _data_format(self, kind: str) -> list[Mapping[str, Any]]:
        formats = self.metadata.get("network_data_format", {})
        return [item for item in formats.get(kind, {}).values() if isinstance(item, Mapping)]

    # --- Reading the configuration ----------------------------------------------------------------

    def _steps(self, name: str) -> list[Mapping[str, Any]]:
        value = self.config.get(name)
        steps = value.get("transforms") if isinstance(value, Mapping) else None
        if isinstance(steps, str) and _REFERENCE.fullmatch(steps):
            steps = self._looked_up(steps)
        return [dict(item) for item in steps or () if isinstance(item, Mapping)]

    def preprocessing(self) -> list[Mapping[str, Any]]:
        """Steps of the preprocessing, resolved, without those that are disabled."""
        return [
            self._plain(step, "preprocessing")
            for step in self._steps("preprocessing")
            if step.get("_disabled_") is not True
        ]

    def _resolved(self, name: str) -> Mapping[str, Any]:
        section = self._plain(self.config[name], name)
        if isinstance(section, str):
            section = self._plain(self._looked_up(section), name)
        return dict(section)

    def _looked_up(self, reference: str) -> Any:
        value: Any = self.config
        for key in re.split(r"[#:]+", reference.lstrip("@")):
            try:
                value = value[int(key)] if isinstance(value, Sequence) else value[key]
            except (KeyError, ValueError, IndexError, TypeError):
                raise ModelError(
                    f"{self.config_path} refers to {reference}, but has no such entry: add it to "
                    "the file",
                    code="BUNDLE_EXPRESSION",
                    path=self.config_path,
                ) from None
        return value

    def _plain(self, value: Any, where: str, depth: int = 0) -> Any:
        """A value without references and expressions."""
        if depth > 50:
            raise ModelError(
                f"{self.config_path}: the reference at {where} leads back to itself; write the "
                "value there",
                code="BUNDLE_EXPRESSION",
                path=self.config_path,
            )
        if isinstance(value, Mapping):
            return {
                key: self._plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._plain(item, where, depth + 1) for item in value]
        if not isinstance(value, str):
            return value
        if _REFERENCE.fullmatch(value):
            return self._plain(self._looked_up(value), where, depth + 1)
        if value.startswith(("$", "%")):
            try:
                return ast.literal_eval(value[1:])
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                raise self._refused(where, repr(value)) from None
        return value

    def _refused(self, where: str, expression: str) -> ModelError:
        return ModelError(
            f"{self.config_path} has the expression {expression} at {where}. Voxarray runs no "
            "expressions, since they are programs; it reads only numbers and names. Write the "
            "value there, or pass it to infer",
            code="BUNDLE_EXPRESSION",
            path=self.config_path,
        )


def _name(step: Mapping[str, Any]) -> str:
    return str(step.get("_target_", "")).rsplit(".", 1)[-1]


def _parsed(path: str) -> Mapping[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            if path.endswith(".json"):
                config = json.load(file)
            else:
                config = import_optional("yaml", "pyyaml").safe_load(file)
    except (ValueError, OSError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}; repair it, or download the bundle again", path=path
        ) from error
    if not isinstance(config, Mapping):
        raise ModelError(
            f"{path} should hold a mapping of entries by name, but holds {type(config).__name__}: "
            "repair it",
            path=path,
        )
    return config
