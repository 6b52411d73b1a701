"""What ``import voxarray`` offers, and what it does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import voxarray as vx

HEAVY = [
    "torch",
    "SimpleITK",
    "nibabel",
    "matplotlib",
    "pydicom",
    "zarr",
    "dask.array",
    "dask",
    "xarray",
    "scipy",
    "isal",
    "numcodecs",
    "PIL",
    "pandas",
    "torchio",
]


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return result.stdout.strip()


@pytest.mark.parametrize("use", ["", "v.ScalarImage; v.Grid; v.MemoryReport; v.VoxarrayError"])
def test_importing_loads_nothing_heavy(use):
    code = f"import sys, voxarray as v; {use}\nprint([m for m in {HEAVY} if m in sys.modules])"
    assert run(code) == "[]"


def test_importing_loads_few_modules():
    code = "import sys, voxarray; print(*(m for m in sys.modules if m.startswith('voxarray.')))"
    assert set(run(code).split()) <= {
        *("voxarray.core", "voxarray.core.version", "voxarray.core.image_classes"),
    }


def test_names_are_sorted_and_found():
    names = vx.__all__
    constants, rest = [n for n in names if n.isupper()], [n for n in names if not n.isupper()]
    assert names == sorted(constants) + sorted(rest)
    assert all(getattr(vx, name) is not None for name in names)
    assert set(names) <= set(dir(vx))
    code = "from voxarray import *; print(ScalarImage.__name__, DATA)"
    assert run(code) == "ScalarImage data"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = vx.Nothing


def test_every_error_is_public():
    from voxarray.core import errors

    defined = {
        name
        for name, value in vars(errors).items()
        if getattr(value, "__module__", "") == errors.__name__ and isinstance(value, type)
    }
    assert defined <= set(vx.__all__)


def test_every_error_of_any_package_is_public():
    found = {
        node.name
        for file in Path(vx.__file__).parent.rglob("*.py")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        for base in node.bases
        if isinstance(base, ast.Name) and base.id.endswith("Error") and hasattr(vx, base.id)
    }
    assert "SubjectsFailedError" in found
    assert found <= set(vx.__all__)


def test_the_accessor_comes_with_xarray():
    assert run("import xarray, voxarray; print(hasattr(xarray.DataArray, 'vox'))") == "True"
