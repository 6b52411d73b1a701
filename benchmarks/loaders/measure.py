"""Patches per second of a `DataLoader` over one of these modules, in a fresh process.

python measure.py MODULE PATH SIZE PATCH COUNT WORKERS ROUNDS
"""

from __future__ import annotations

import importlib
import json
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader

SEED = 20240501
BATCH = 4


class Boxes(torch.utils.data.Dataset):
    """Patches at random places, as slices along z, y, x; the file is opened in the worker."""

    def __init__(self, open_reader, path, size, patch, count):
        self.open_reader, self.path, self.reader = open_reader, path, None
        starts = np.random.default_rng(SEED).integers(0, size - patch + 1, (count, 3))
        self.boxes = [tuple(slice(int(s), int(s) + patch) for s in row) for row in starts]

    def __len__(self):
        return len(self.boxes)

    def __getitem__(self, index):
        if self.reader is None:
            self.reader = self.open_reader(self.path)
        return {"data": torch.as_tensor(self.reader(self.boxes[index]))[None]}


def main(module, path, size, patch, count, workers, rounds):
    loader_of = importlib.import_module(module)
    if hasattr(loader_of, "dataset"):
        dataset = loader_of.dataset(path, patch, count)
    else:
        dataset = Boxes(loader_of.open_reader, path, size, patch, count)
    loader = DataLoader(
        dataset, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0
    )
    rates = []
    # The first opens files and warms caches; others follow where a worker compiles what it needs
    # after so many patches, which two workers do later than one.
    warm = getattr(loader_of, "PATCHES_UNTIL_STEADY", 1) * max(workers, 1)
    warming = -(-warm // count)
    for number in range(rounds + warming):
        start, patches = time.perf_counter(), 0
        for batch in loader:
            patches += len(
                loader_of.voxels(batch) if hasattr(loader_of, "voxels") else batch["data"]
            )
        if number >= warming:
            rates.append(patches / (time.perf_counter() - start))
        assert patches == count
    print(json.dumps(rates))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
