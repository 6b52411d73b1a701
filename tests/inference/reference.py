"""The whole volume in RAM: what every result is compared with."""

from __future__ import annotations

import itertools

import numpy as np
import torch


def starts_of(size, patch, overlap):
    starts = list(range(0, size - patch + 1, patch - overlap))
    return starts if starts[-1] == size - patch else [*starts, size - patch]


def window_of(blend, patch):
    if blend == "hann":
        return np.hanning(patch + 2)[1:-1]
    if blend == "gaussian":
        return np.exp(-((np.arange(patch) - (patch - 1) / 2) ** 2) / (2 * (patch / 8) ** 2))
    return np.ones(patch)


def weights_of(blend, patch):
    x, y, z = (window_of(blend, n) for n in patch)
    weights = x[:, None, None] * y[:, None] * z
    return np.maximum(weights, max(weights.min(), 1e-3)) if blend == "gaussian" else weights


def blended(model, volume, patch, overlap, blend):
    """Logits (K, W, H, D) of a volume (C, W, H, D), in float64, all of it at once."""
    before = [max(0, p - n) // 2 for n, p in zip(volume.shape[1:], patch, strict=True)]
    after = [max(0, p - n) - b for n, p, b in zip(volume.shape[1:], patch, before, strict=True)]
    padded = np.pad(volume.astype(np.float32), [(0, 0), *zip(before, after, strict=True)])
    axes = [starts_of(n, p, o) for n, p, o in zip(padded.shape[1:], patch, overlap, strict=True)]
    weights = weights_of(blend, patch)
    total = sums = None
    for start in itertools.product(*axes):
        box = tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))
        with torch.no_grad():
            found = model(torch.from_numpy(padded[(slice(None), *box)])[None])[0].numpy()
        if sums is None:
            sums = np.zeros((len(found), *padded.shape[1:]))
            total = np.zeros(padded.shape[1:])
        inside = [slice(None)] * 3
        if blend == "crop":
            for axis in range(3):
                half = overlap[axis] // 2
                low = 0 if start[axis] == 0 else half
                box = (*box[:axis], slice(start[axis] + low, box[axis].stop), *box[axis + 1 :])
                inside[axis] = slice(low, None)
            sums[(slice(None), *box)] = found[(slice(None), *inside)]  # later patches decide
            total[box] = 1
        else:
            sums[(slice(None), *box)] += found * weights
            total[box] += weights
    inner = tuple(slice(b, b + n) for b, n in zip(before, volume.shape[1:], strict=True))
    return (sums / total)[(slice(None), *inner)]


def clear_of(logits, margin=1e-5):
    """Where the two best classes differ by more than rounding."""
    ordered = np.sort(logits, axis=0)
    return ordered[-1] - ordered[-2] > margin


class Ramps(torch.nn.Module):
    """Logits that depend on the place in the patch, so that blending matters; and are cheap."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        torch.manual_seed(classes)
        self.weight = torch.nn.Parameter(torch.randn(classes, channels))
        self.slopes = torch.nn.Parameter(torch.randn(classes, 3))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        found = torch.einsum("nc...,kc->nk...", batch, self.weight)
        for axis in range(3):
            ramp = torch.linspace(-0.5, 0.5, batch.shape[axis + 2])
            ramp = ramp.reshape([-1 if a == axis else 1 for a in range(3)])
            found = found + self.slopes[:, axis, None, None, None] * ramp
        return found


def network(classes: int, channels: int = 1) -> torch.nn.Module:
    return Ramps(classes, channels)
