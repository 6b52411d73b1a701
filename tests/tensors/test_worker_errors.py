"""An error in a worker of a DataLoader is in the main process what it was in the worker."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx
from voxarray.core import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.VoxarrayError)
]


def raised_again(error):
    """What torch makes of an error in a worker; with chained errors in its traceback."""
    try:
        try:
            raise errors.FormatError("the first", code="BEFORE")
        except errors.FormatError as first:
            raise error from first
    except errors.VoxarrayError:
        wrapped = torch._utils.ExceptionWrapper(sys.exc_info(), "in DataLoader worker process 0")
    with pytest.raises(type(error)) as caught:
        wrapped.reraise()
    return caught.value


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("message", ["a: b [c]", "two\nlines: X_Y: z", ""])
def test_code_and_path_survive(cls, message):
    for code in ("SOME_CODE", None):
        found = raised_again(cls(message, code=code, path="/data/scan [1].nii"))
        assert type(found) is cls
        assert found.code == (code or cls.default_code)
        assert str(found).startswith(f"{found.code}: Caught {cls.__name__} in DataLoader worker")
        assert message in str(found)


def test_the_path_survives_where_the_message_does_not_name_it():
    for path in ("/data/scan.nii", "s3://bucket/a b.ome.zarr"):
        assert raised_again(errors.FormatError("a [b]", code="X", path=path)).path == path
        assert raised_again(errors.FormatError("it has [1, 2]", code="X")).path is None
        named = raised_again(errors.FormatError(f"{path} is bad", code="X", path=path))
        assert named.path is None  # who is to say where in the text it ends
        assert path in named.message


def test_a_text_of_somebody_else_says_nothing():
    text = "Caught a cold.\nvoxarray.core.errors.GridError: SOME_CODE: no"
    assert errors.FormatError(text).code == "BAD_FORMAT"
    assert errors.GridError(text, code="OTHER").code == "OTHER"


class Damaged(torch.utils.data.Dataset):
    """Reads from an archive; at module level, so that any worker can import it."""

    def __init__(self, image):
        self.image = image

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.as_tensor(self.image[:, index : index + 1].numpy())


def test_a_damaged_archive_is_named_by_its_code(tmp_path):
    path = tmp_path / "a.ome.zarr"
    vx.ScalarImage(tensor=np.arange(960).reshape(1, 12, 10, 8).astype("i2")).save(path)
    (path / "scale0/image/c/0/0/0/0").unlink()
    loader = DataLoader(Damaged(vx.ScalarImage(path)), num_workers=1)
    with pytest.raises(vx.VoxarrayError) as caught:
        list(loader)
    assert (type(caught.value), caught.value.code) == (errors.MissingDataError, "MISSING_DATA")
    vx.ScalarImage(tensor=np.ones((1, 12, 10, 8), "u1")).save(tmp_path / "b.ome.zarr")
    (tmp_path / "b.ome.zarr/manifest.json").unlink()
    loader = DataLoader(Damaged(vx.ScalarImage(tmp_path / "b.ome.zarr")), num_workers=1)
    with pytest.raises(errors.MissingDataError) as caught:
        list(loader)
    assert caught.value.code == "NO_MANIFEST"  # another one than that of its class
    assert str(path.with_name("b.ome.zarr")) in str(caught.value)
