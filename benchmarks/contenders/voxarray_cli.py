"""``voxarray convert scan.nii.gz scan.ome.zarr``, imports included as in every such call."""

from __future__ import annotations


def run(source: str, destination: str) -> None:
    from voxarray.cli import main

    try:
        main(["convert", source, destination])
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"voxarray convert ended with {end.code}") from end
