"""``ngff-zarr -i scan.nii.gz -o scan.ome.zarr``, imports included as in every such call."""

from __future__ import annotations

import sys


def run(source: str, destination: str) -> None:
    from ngff_zarr.cli import main

    sys.argv = ["ngff-zarr", "--quiet", "-i", source, "-o", destination]
    main()
