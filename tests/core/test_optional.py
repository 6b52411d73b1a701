"""One word for every package that is not installed."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import voxarray as vx
from voxarray.core.errors import MissingPackageError

ROOT = Path(__file__).parents[2]


def image():
    return vx.ScalarImage(tensor=np.arange(210, dtype=np.uint8).reshape(1, 7, 6, 5))


NEEDS = {
    "h5py": ("hdf5", lambda folder: image().save(folder / "a.h5")),
    "tifffile": ("tiff", lambda folder: image().save(folder / "a.tif")),
    "matplotlib": ("plot", lambda _: image().plot(show=False)),
    "PIL": (
        "plot",
        lambda folder: image().to_gif(axis=2, duration=1, output_path=folder / "a.gif"),
    ),
    "av": ("video", lambda folder: image().to_video(folder / "a.mp4")),
    "obstore": ("remote", lambda _: vx.ScalarImage("s3://bucket/a.nii").shape),
}


@pytest.mark.parametrize("package", NEEDS)
def test_it_is_named_with_what_installs_it(tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    extra, use = NEEDS[package]
    with pytest.raises(MissingPackageError) as caught:
        use(tmp_path)
    assert caught.value.code == "NOT_INSTALLED"
    assert f"{package}, which is not installed: pip install 'voxarray[{extra}]'" in str(
        caught.value
    )
    assert isinstance(caught.value, ImportError)
    assert list(tmp_path.iterdir()) == []


def test_every_extra_that_is_named_is_one_of_the_package():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {
        node.value.partition("[")[2].rstrip("]")
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("voxarray[")
        and node.value.endswith("]")
    }
    assert {"hdf5", "tiff", "plot"} <= named <= extras["optional-dependencies"].keys()


def test_what_is_no_hdf5_is_not_called_another_format(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"nothing of the kind" * 50)
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.ScalarImage(tmp_path / "a.h5").load()
    assert "h5py cannot read this" in str(caught.value)
    assert "MINC" not in str(caught.value)
