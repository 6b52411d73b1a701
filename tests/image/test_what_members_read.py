"""Every public member: what it reads, counted, and what it costs on a volume beyond the budget."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import dask
import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from scans import AFFINE, voxels, write
from voxarray.statistics.cache import forget
from voxarray.testing.counting import count_reads
from voxarray.testing.peak_memory import can_measure, peak_above_imports

mpl.use("agg")

NOTHING = {
    **{
        name: f"image.{name}"
        for name in (
            *("affine", "array", "bounds", "check_nans", "chunks", "dask", "direction", "dtype"),
            *(
                "fixed_type",
                "grid",
                "history",
                "itemsize",
                "label_colours",
                "memory",
                "num_channels",
            ),
            *("orientation", "orientation_str", "origin", "path", "shape", "source", "spacing"),
            *("spatial_shape", "type"),
        )
    },
    **{name: f"image[..., 0].{name}" for name in ("width", "height")},
    **{
        name: f"image.{name}()"
        for name in (
            *("to_canonical", "to_orientation", "resample"),
            *("copy", "get_bounds", "get_center", "items", "keys", "memory_report", "to_nibabel"),
            *("values",),
        )
    },
    "crop": "image.crop(1)",
    "crop_or_pad": "image.crop_or_pad(9)",
    "pad": "image.pad(1, 'reflect')",
    "resize": "image.resize(5)",
    "axis_name_to_index": "image.axis_name_to_index('Left')",
    "clamp": "image.clamp(0, 9)",
    "flip_axis": "image.flip_axis('Left')",
    "from_nibabel": "type(image).from_nibabel(image.to_nibabel())",
    "from_xarray": "type(image).from_xarray(image.array)",
    "get": "image.get('data')",
    "level": "image.level(0)",
    "pop": "image.pop('nothing', None)",
    "rechunk": "image.rechunk((1, -1, -1, 64))",
    "set_check_nans": "image.set_check_nans(True)",
    "setdefault": "image.setdefault('site', 'B')",
    "update": "image.update(site='B')",
    "slicing": "image[2:4, ::-1, 3]",
    "repr": "repr(image)",
    "equality": "image == image.copy()",
    "copies": "copy.deepcopy(image), copy.copy(image)",
    "iteration": "dict(image), list(image), {**image}",
}
"""Members that read the header at most."""

PLANES = {"plot": "image.plot(show=False)", "_repr_html_": "image._repr_html_()"}
"""Members that draw three planes."""

ONE_PLANE = {
    "as_pil": "image[..., 3].as_pil()",
    "a part of to_nibabel": "image.to_nibabel().dataobj[..., 3]",
}
"""Members of a slice, or that read one."""

ONCE = {
    "show": "image.show(PROGRAM)",  # what the program cannot read is written for it
    "hist": "image.hist(show=False)",
    "count_nonzero": "labels.count_nonzero()",
    "count_labels": "labels.count_labels()",
    "rescale_intensity": "image.rescale_intensity()",
    "statistics": "image.statistics()",
    "statistics_by_label": "image.statistics_by_label(labels)",
    "to_gif": "image.to_gif(2, 1, FOLDER / 'a.gif')",
    "to_video": "image.to_video(FOLDER / 'a.mp4')",
}
"""Members that draw or count all voxels, in pieces; a film needs their range first, and what has
labels reads them, too.
"""

WHOLE = {
    **{name: f"image.{name}" for name in ("data", "tensor")},
    **{
        name: f"image.{name}()"
        for name in (
            *("load", "numpy", "compute", "persist", "to_tensor"),
            *("as_sitk", "to_monai", "to_torchio"),
        )
    },
    "np.asarray": "np.asarray(image)",
}
"""Members that hold all voxels, and refuse what does not fit into the budget."""

ELSEWHERE = {
    "save": "the writers have tests of their own",
    "from_sitk": "is given voxels",
    "from_torchio": "tests of bridges",
    "from_monai": "tests of bridges",
    "set_data": "is given voxels",
    "view": "reads the level that it shows: tests of the viewer",
    "neuroglancer": "reads what its page asks for: tests of rendering",
    "lightbox": "reads the slices that it draws: tests of rendering",
    "unload": "reads nothing, and needs a tensor",
    "clear": "refused, as image['type'] cannot be removed",
    "popitem": "likewise",
    "fromkeys": "of dict, and makes no image",
}


def namespace(path, folder):
    return {
        "image": vx.ScalarImage(path),
        "labels": vx.LabelMap(path),
        "np": np,
        "copy": copy,
        "FOLDER": folder,
        "PROGRAM": shutil.which("true"),
    }


@pytest.fixture(params=[".nii", ".nii.gz", ".ome.zarr"])
def path(request, tmp_path):
    plain = write(tmp_path / "a.nii", voxels((1, 20, 18, 16)))
    if request.param == ".nii":
        return plain
    vx.ScalarImage(plain).save(tmp_path / f"a{request.param}")
    return tmp_path / f"a{request.param}"


def test_no_member_is_forgotten():
    known = {**NOTHING, **PLANES, **ONE_PLANE, **ONCE, **WHOLE, **ELSEWHERE}
    public = {n for kind in (vx.ScalarImage, vx.LabelMap) for n in dir(kind) if n[0] != "_"}
    assert public <= set(known)


def test_counted(path, tmp_path):
    w, h, d = 20, 18, 16
    for members, most in (
        (NOTHING, 0),
        (ONE_PLANE, w * h),
        (PLANES, w * h + h * d + w * d),
        (ONCE, 2 * w * h * d),
        (WHOLE, w * h * d),
    ):
        for name, code in members.items():
            values = namespace(path, tmp_path)
            forget()  # what the member before counted
            with count_reads() as reads:
                eval(code, values)
            assert reads.voxels <= most, name
            assert members is WHOLE or "data" not in values["image"], name
            twice = name in ("to_gif", "to_video", "statistics_by_label")
            assert reads.voxels <= (most if twice else min(most, w * h * d)), name
            assert reads.voxels or not most or name == "show", name


@pytest.mark.parametrize("name", WHOLE)
def test_refused_beyond_the_budget(name, tmp_path):
    path = write(tmp_path / "a.nii", voxels((1, 64, 64, 64)))  # 512 KiB
    values = namespace(path, tmp_path)
    with (
        dask.config.set({"voxarray.memory-budget": "128 KiB"}),
        count_reads() as reads,
        pytest.raises(vx.MemoryBudgetError),
    ):
        eval(WHOLE[name], values)
    assert reads.voxels == 0


MIB = 1 << 20
SHAPE = (1, 256, 256, 2048)  # 256 MiB of int16
BUDGET = 64 * MIB

# Pictures, films and counts of all formats: tests/rendering/test_memory_of_pictures.py.
CASES = [
    pytest.param(suffix, name, marks=[] if quick else [pytest.mark.slow])
    for suffix in (".nii", ".nii.gz", ".ome.zarr")
    for name in ("nothing", "plot", "count_labels", *ONE_PLANE)
    for quick in [suffix == ".nii" and name in ("nothing", "count_labels")]
]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A volume four times the budget, in three formats, made when it is needed."""
    folder = tmp_path_factory.mktemp("large")

    def make(suffix: str) -> Path:
        plain, path = folder / "a.nii", folder / f"a{suffix}"
        if not plain.exists():
            plane = np.random.default_rng(0).integers(0, 500, SHAPE[1:3]).astype("int16")
            volume = np.broadcast_to(plane[:, :, None], SHAPE[1:])
            nib.save(nib.Nifti1Image(volume, AFFINE), plain)
        if not path.exists():
            vx.ScalarImage(plain).save(path)
        return path

    return make


@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(("suffix", "name"), CASES)
def test_peak(large, tmp_path, suffix, name):
    path = large(suffix)
    tiny = tmp_path / f"tiny{suffix}"
    vx.ScalarImage(write(tmp_path / "small.nii", voxels((1, 20, 18, 16)))).save(tiny)
    code = (
        "\n".join(NOTHING.values()) if name == "nothing" else {**PLANES, **ONE_PLANE, **ONCE}[name]
    )
    open_both = "image, labels = vx.ScalarImage({!r}), vx.LabelMap({!r})\n"
    setup = f"""
import copy, pathlib, shutil, matplotlib, numpy as np, voxarray as vx
matplotlib.use("agg")
FOLDER, PROGRAM = pathlib.Path({str(tmp_path)!r}), shutil.which("true")
{open_both.format(str(tiny), str(tiny))}{code}
image.rechunk(5)  # dask imports what it needs where there is something to do
{open_both.format(str(path), str(path))}
"""
    environment = {"DASK_VOXARRAY__MEMORY_BUDGET": str(BUDGET)}
    peak = peak_above_imports(setup, code, environment=environment)
    print(f"{suffix} {name}: {peak.bytes / MIB:.1f} MiB")
    assert peak.bytes <= (4 * MIB if name == "nothing" else BUDGET)
