"""No public operation lets a bare MemoryError, or what torch, ITK and the system say, through."""

from __future__ import annotations

import errno
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import voxels, write
from voxarray.core.exhaustion import is_exhaustion, names_exhaustion
from voxarray.formats.nifti.source import NiftiSource
from voxarray.statistics.cache import forget

mpl.use("agg")

RAISED = {
    "numpy": MemoryError("Unable to allocate 1.0 TiB"),
    "bare": MemoryError(),
    "torch": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    "itk": RuntimeError("Exception thrown: Failed to allocate memory for image."),
    "system": OSError(errno.ENOMEM, "Cannot allocate memory"),
}

OPERATIONS = {
    "data": lambda image: image.data,
    "numpy": lambda image: image.numpy(),
    "asarray": np.asarray,
    "compute": lambda image: image.compute(),
    "persist": lambda image: image.persist(),
    "array": lambda image: image.array.values,
    "isel": lambda image: image.array.isel(z=0).values,
    "a reduction": lambda image: image.array.mean().compute(),
    "to_tensor": lambda image: image.to_tensor(torch.float32),
    "as_sitk": lambda image: image.as_sitk(),
    "as_pil": lambda image: image[0, :, :, 0].as_pil(),
    "nibabel": lambda image: np.asarray(image.to_nibabel().dataobj),
    "nibabel's part": lambda image: image.to_nibabel().dataobj[..., 0],
    "monai": lambda image: image.to_monai(),
    "statistics": lambda image: image.statistics(),
    "by label": lambda image: image.statistics_by_label(image),
    "count_labels": lambda image: vx.LabelMap(image.path).count_labels(),
    "plot": lambda image: image.plot(show=False),
    "hist": lambda image: image.hist(show=False),
    "html": lambda image: image._repr_html_(),
    "to_gif": lambda image: image[0, :, :, :].to_gif(2, 1, "a.gif"),
    "save": lambda image: image.save("b.nii"),
    "save compressed": lambda image: image.save("b.nii.gz"),
    "save an archive": lambda image: image.save("b.ome.zarr"),
    "vx.convert": lambda image: vx.convert(image, "c.ome.zarr"),
    "rescaling": lambda image: vx.RescaleIntensity((0, 1))(image).data,
    "normalising": lambda image: vx.ZNormalization()(image).data,
    "resampling": lambda image: vx.Resample(3)(image).data,
    "padding": lambda image: vx.Pad(1, "mean")(image).data,
    "a subject": lambda image: vx.Subject(t1=image).load(),
    "a subject's plot": lambda image: vx.Subject(t1=image).plot(show=False),
    "patches": lambda image: vx.PatchDataset(
        [vx.Subject(t1=image)], vx.UniformSampler(2)
    ).__getitems__([0]),
    "grid": lambda image: vx.GridSampler(vx.Subject(t1=image), 2)[0],
}


@pytest.mark.parametrize(
    ("name", "said"),
    [*((name, "numpy") for name in OPERATIONS), *(("data", said) for said in RAISED)]
    + [(name, "system") for name in ("save", "save an archive", "vx.convert")],
)
def test_a_lack_of_memory_has_a_name(name, said, tmp_path, monkeypatch):
    path = write(tmp_path / "a.nii", voxels())
    monkeypatch.chdir(tmp_path)
    image = vx.ScalarImage(path)

    def lacking(*_):
        raise RAISED[said]

    monkeypatch.setattr(NiftiSource, "read", lacking)
    monkeypatch.setattr(NiftiSource, "read_into", lacking)
    monkeypatch.setattr(NiftiSource, "stream", lacking)
    forget()
    with pytest.raises(vx.MemoryBudgetError, match="the system gave no more memory") as caught:
        OPERATIONS[name](image)
    assert caught.value.code == "OUT_OF_MEMORY"
    assert isinstance(caught.value.__cause__, type(RAISED[said]))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.nii"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), RuntimeError("else"), vx.MemoryBudgetError("named already")],
    ids=["disk", "runtime", "ours"],
)
def test_other_errors_stay_as_they_are(error):
    def failing():
        raise error

    assert not is_exhaustion(error)
    with pytest.raises(type(error)) as caught:
        names_exhaustion(failing)()
    assert caught.value is error


LIMITED = """
import resource, sys, numpy as np, voxarray as vx
image = vx.ScalarImage(sys.argv[1])
target = vx.Resample((0.2, 0.2, 0.2))(image)
image.data
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (64 << 20),) * 2)
for work in (lambda: target.data, lambda: target.compute(), lambda: target[:, ::-1].numpy()):
    try:
        work()
    except vx.MemoryBudgetError as error:
        print(error.code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_a_process_of_limited_address_space_says_so(tmp_path):
    write(tmp_path / "a.nii", np.zeros((1, 80, 80, 80), "float32"), np.diag([1, 1, 1, 1]))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "a.nii"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["OUT_OF_MEMORY"] * 3
