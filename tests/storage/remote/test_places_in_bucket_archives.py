"""Nothing is written into an archive in a bucket."""

from __future__ import annotations

import pytest

import voxarray as vx


def test_a_destination_inside_an_archive_in_a_bucket_is_refused(bucket):
    scan = vx.testing.sample((9, 8, 7))
    scan.save(f"{bucket.url}/z.ome.zarr")
    for name in ("sub.ome.zarr", "below/sub.nii.gz"):
        with pytest.raises(vx.FormatError, match="which is an archive"):
            scan.save(f"{bucket.url}/z.ome.zarr/{name}")
    assert vx.verify(f"{bucket.url}/z.ome.zarr") == []
    scan.save(f"{bucket.url}/none.ome.zarr/a.ome.zarr")
    assert vx.verify(f"{bucket.url}/none.ome.zarr/a.ome.zarr") == []
