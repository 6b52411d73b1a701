"""Nothing is written into an archive, whose manifest names all that it holds."""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli.main import main


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((9, 8, 7)).save(tmp_path / "z.ome.zarr")
    return vx.ScalarImage(tmp_path / "z.ome.zarr")


PLACES = ("z.ome.zarr/sub.ome.zarr", "z.ome.zarr/0/sub.nii.gz", "link/sub.ozx")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("route", ["save", "convert", "command"])
def test_a_destination_inside_an_archive_is_refused(scan, tmp_path, place, route):
    (tmp_path / "link").symlink_to(tmp_path / "z.ome.zarr")
    target = tmp_path / place
    if route == "command":
        done = CliRunner().invoke(main, ["convert", str(scan.path), str(target)])
        assert done.exit_code == 1
        assert "OTHER_FORM" in done.stderr
    else:
        with pytest.raises(vx.FormatError, match="which is an archive") as caught:
            scan.save(target) if route == "save" else vx.convert(scan.path, target)
        assert caught.value.code == "OTHER_FORM"
    assert not os.path.lexists(target)
    assert vx.verify(scan.path) == []


def test_a_prediction_in_another_archive_is_refused(scan, tmp_path):
    torch = pytest.importorskip("torch")
    vx.testing.sample((9, 8, 7)).save(tmp_path / "other.ome.zarr")
    with pytest.raises(vx.FormatError, match="which is an archive"):
        vx.infer(
            lambda x: torch.cat([-x, x], 1), scan, tmp_path / "other.ome.zarr/p.nii", patch_size=8
        )
    assert vx.verify(tmp_path / "other.ome.zarr") == []


def test_a_hierarchy_of_others_and_names_alone_are_no_archives(scan, tmp_path):
    os.makedirs(tmp_path / "plain.ome.zarr")
    (tmp_path / "plain.ome.zarr/zarr.json").write_text('{"node_type": "group", "zarr_format": 3}')
    scan.save(tmp_path / "plain.ome.zarr/a.ome.zarr")
    assert vx.verify(tmp_path / "plain.ome.zarr/a.ome.zarr") == []
