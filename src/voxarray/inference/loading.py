"""Models in all their forms: functions, modules, files; and what they say of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from voxarray.cohort.plan.described import described
from voxarray.core.errors import ModelError


@dataclass(frozen=True)
class LoadedModel:
    """One or several networks, ready to be called.

    Attributes:
        networks: Functions (N, C, W, H, D) -> (N, K, W, H, D); their mean is wanted.
        digest: Of weights and code: equal for models that predict alike.
        names: What the classes mark, if the model says so: value of the label to its name.
        channels: What the network's channels are, if the model says so.
        settings: Arguments of `infer` that the model brings along; those of the caller win.
    """

    networks: tuple[Callable[[torch.Tensor], torch.Tensor], ...]
    digest: str
    names: Mapping[int, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def loaded(model: Any) -> LoadedModel:
    """A model as it can be called.

    Args:
        model: A function, a `torch.nn.Module`, or a list of models.

    Raises:
        ModelError: If it is none of these (``BAD_MODEL``).
    """
    if isinstance(model, (list, tuple)):
        return _ensemble([loaded(one) for one in model])
    if isinstance(model, torch.nn.Module):
        return LoadedModel((model,), module_digest(model))
    if callable(model):
        text = repr(described(model))
        return LoadedModel((model,), hashlib.sha256(text.encode()).hexdigest())
    raise ModelError(
        f"a model is a function (N, C, W, H, D) -> (N, K, W, H, D), a torch.nn.Module, a file, a "
        f"bundle folder, or a list of these; not {type(model).__name__}"
    )


def module_digest(module: torch.nn.Module) -> str:
    """sha256 of a module's class, weights and buffers."""
    found = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            continue
        plain = tensor.detach().cpu().contiguous()
        found.update(f"\0{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        found.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _ensemble(members: Sequence[LoadedModel]) -> LoadedModel:
    if not members:
        raise ModelError("an ensemble has one model at least, and the list is empty")
    first = members[0]
    for other in members[1:]:
        if (other.names or first.names) != (first.names or other.names):
            raise ModelError(
                f"models of an ensemble have the classes {first.names} and {other.names}: they "
                "predict different things",
                code="ENSEMBLE_DIFFERS",
            )
    text = "\0".join(member.digest for member in members)
    return LoadedModel(
        tuple(network for member in members for network in member.networks),
        hashlib.sha256(text.encode()).hexdigest(),
        next((member.names for member in members if member.names), {}),
        next((member.channels for member in members if member.channels), ()),
        first.settings,
    )
