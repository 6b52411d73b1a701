"""Functions of subjects and patches that users pass, checked before they are needed."""

from __future__ import annotations

from typing import Any


def require_transform(transform: Any) -> None:
    """Refuse what would fail only at the first subject, perhaps in another process.

    Raises:
        TypeError: It is a class and not an instance, cannot be called, or is a transform of
            TorchIO, which knows neither our subjects nor our patches.
    """
    if isinstance(transform, type):
        name = transform.__name__
        raise TypeError(f"a transform is an instance, and {name} is a class: write {name}(...)")
    if not callable(transform):
        raise TypeError(f"a transform can be called, and {transform!r} cannot")
    if any(base.__module__.partition(".")[0] == "torchio" for base in type(transform).__mro__):
        name = type(transform).__name__
        raise TypeError(
            f"{name} is a transform of TorchIO: for patches wrap it, "
            f"vx.TorchIOTransform({name}(...)), as transform= of vx.PatchDataset; whole images go "
            "to TorchIO by image.to_torchio() and come back by vx.ScalarImage.from_torchio(image)"
        )


def require_sampler(sampler: Any) -> None:
    """Refuse what cannot draw patches.

    Raises:
        TypeError: It is no sampler.
    """
    if isinstance(sampler, type) or not hasattr(sampler, "draw"):
        hint = f"vx.UniformSampler({sampler!r})" if isinstance(sampler, (int, tuple)) else ""
        raise TypeError(
            f"a sampler says where patches are, and {sampler!r} is not a sampler: pass "
            f"{hint or 'one, such as vx.UniformSampler(32)'}"
        )
