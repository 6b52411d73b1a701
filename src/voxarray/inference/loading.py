"""Models in all their forms: functions, modules, files; and what they say of themselves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import MissingPackageError, ModelError, VoxarrayWarning
from voxarray.core.given_paths import path_text
from voxarray.core.optional import import_optional
from voxarray.inference.bundle import Bundle
from voxarray.inference.bundle_transforms import preprocessing
from voxarray.inference.function_digest import function_digest, module_digest
from voxarray.inference.model_files import (
    ExportedNetwork,
    OnnxNetwork,
    file_digest,
    network_of,
)
from voxarray.inference.nnunet_folder import refuse_nnunet
from voxarray.storage.remote.address import as_local


@dataclass(frozen=True)
class LoadedModel:
    """One or several networks, ready to be called.

    Attributes:
        networks: Functions (N, C, W, H, D) -> (N, K, W, H, D); their mean is wanted.
        digest: Of weights and code: equal for models that predict alike.
        names: What the classes mark, if the model says so: value of the label to its name.
        channels: What the network's channels are, if the model says so.
        settings: Arguments of `infer` that the model brings along; those of the caller win.
        preprocess: Makes the preprocessing that the model asks for; may find that we have it not.
    """

    networks: tuple[Callable[[torch.Tensor], torch.Tensor], ...]
    digest: str
    names: Mapping[int, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Callable[[], Any] | None = None

    @property
    def fixed_batches(self) -> list[int]:
        """Patches at once of those networks that take no other number."""
        files = [file for file in self.networks if isinstance(file, (ExportedNetwork, OnnxNetwork))]
        return [file.fixed_batch for file in files if file.fixed_batch is not None]


def loaded(model: Any) -> LoadedModel:
    """A model as it can be called.

    Args:
        model: A function, a `torch.nn.Module`, a file, the folder of a bundle, or a list of these.

    Raises:
        ModelError: If it is none of these (``BAD_MODEL``), or as `network_of` and `Bundle` say.

    Warns:
        VoxarrayWarning: A file is a program, or a bundle asks for more than is done here
            (``BUNDLE_LEFT_OUT``).
    """
    if isinstance(model, (str, os.PathLike)):
        path = os.path.abspath(os.path.expanduser(as_local(path_text(model))))
        if os.path.exists(path):
            refuse_nnunet(path)
        if os.path.isdir(path):
            return _of_bundle(Bundle(path))
        network = network_of(path)
        names = network.class_names if isinstance(network, OnnxNetwork) else {}
        return LoadedModel((network,), file_digest(path), names)
    if isinstance(model, (list, tuple)):
        return _ensemble([loaded(item) for item in model])
    if isinstance(model, torch.nn.Module):
        return LoadedModel((model,), module_digest(model))
    if callable(model):
        return LoadedModel((model,), function_digest(model))
    raise ModelError(
        f"a model is a function (N, C, W, H, D) -> (N, K, W, H, D), a torch.nn.Module, a file, a "
        f"bundle folder, or a list of these; not {type(model).__name__}"
    )


def _of_bundle(bundle: Bundle) -> LoadedModel:
    path = bundle.weights_path
    if bundle.left_out:
        warn_caller(
            f"BUNDLE_LEFT_OUT: {bundle.config_path} asks for {', '.join(bundle.left_out)}, which "
            "voxarray leaves out: the result may differ from that of MONAI. Apply these steps "
            "yourself, or use MONAI if they matter",
            VoxarrayWarning,
        )
    if "network_def" in bundle.config and not path.endswith(".ts"):
        kind, arguments = bundle.network
        try:
            network = kind(**arguments)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{bundle.config_path} gives the network {kind.__name__} arguments that the "
                f"network refuses: {error}. Correct them, or install the release of MONAI that the "
                "bundle was made with",
                code="BUNDLE_TARGET",
                path=bundle.config_path,
            ) from error
        load_weights(network, path)
    else:
        network = network_of(path)
    return LoadedModel(
        (network,),
        file_digest(*bundle.files),
        bundle.class_names,
        bundle.channel_names,
        bundle.settings,
        lambda: preprocessing(bundle.preprocessing(), bundle.config_path),
    )


def load_weights(module: torch.nn.Module, path: str) -> None:
    """Put weights from a file into a module; nothing in the file is run.

    Args:
        module: The network.
        path: safetensors, or a state that `torch.save` wrote.

    Raises:
        ModelError: If the file holds more than weights, or not those of the module
            (``BAD_WEIGHTS``).
    """
    try:
        if path.endswith(".safetensors"):
            state = import_optional("safetensors.torch", "safetensors").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):
            state = state[key] if isinstance(state.get(key), Mapping) else state
        module.load_state_dict(state)
    except MissingPackageError:
        raise
    except Exception as error:  # torch, pickle and safetensors have no common base
        text = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ModelError(
            f"the weights in {path} cannot be loaded into {type(module).__name__} ({text}): "
            "expected a plain state_dict of that network",
            code="BAD_WEIGHTS",
            path=path,
        ) from error


def _ensemble(members: Sequence[LoadedModel]) -> LoadedModel:
    if not members:
        raise ModelError("an ensemble needs at least one model, but the list is empty")
    first = members[0]
    for other in members[1:]:
        if (other.names or first.names) != (first.names or other.names):
            raise ModelError(
                f"models of an ensemble have the classes {first.names} and {other.names}, so they "
                "predict different things: give models of the same classes",
                code="ENSEMBLE_DIFFERS",
            )
    text = "\0".join(member.digest for member in members)
    return LoadedModel(
        tuple(network for member in members for network in member.networks),
        hashlib.sha256(text.encode()).hexdigest(),
        next((member.names for member in members if member.names), {}),
        next((member.channels for member in members if member.channels), ()),
        first.settings,
        first.preprocess,
    )
