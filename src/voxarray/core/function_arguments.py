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
        raise TypeError(f"{name} is a class, and a transform is an instance: write {name}(...)")
    if not callable(transform):
        raise TypeError(f"a transform must be callable, and {transform!r} is not")
    if any(base.__module__.partition(".")[0] == "torchio" for base in type(transform).__mro__):
        name = type(transform).__name__
        raise TypeError(
            f"{name} is a transform of TorchIO. For patches, pass vx.TorchIOTransform({name}(...)) "
            "as transform= of vx.PatchDataset. For whole images, convert them with "
            "image.to_torchio(), and back with vx.ScalarImage.from_torchio(image)"
        )


def require_sampler(sampler: Any) -> None:
    """Refuse what cannot draw patches.

    Raises:
        TypeError: It is no sampler.
    """
    if isinstance(sampler, type) or not hasattr(sampler, "draw"):
        hint = f"vx.UniformSampler({sampler!r})" if isinstance(sampler, (int, tuple)) else ""
        raise TypeError(
            f"a sampler chooses the positions of patches, and {sampler!r} is not a sampler: pass "
            f"{hint or 'one, such as vx.UniformSampler(32)'}"
        )
