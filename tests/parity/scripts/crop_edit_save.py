"""Crop a scan, edit its voxels, save it. Arguments: a scan, a folder for results."""

import copy
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torchio as tio

scan, folder = Path(sys.argv[1]), Path(sys.argv[2])

image = tio.ScalarImage(scan)
crop = image[2:10, 3:9, 1:7]
print("cropped", crop.shape, np.round(crop.affine, 4).tolist())
print("origin moved", np.round(np.subtract(crop.origin, image.origin), 3).tolist())

edited = copy.deepcopy(crop)
edited.set_data(crop.data.float() * 2 + 1)
print("original untouched", not torch.equal(edited.data, crop.data.float()))
edited.save(folder / "edited.nii.gz")
edited.save(folder / "edited.nrrd")
edited.save(str(folder / "edited.mha"))

for name in ("edited.nii.gz", "edited.nrrd", "edited.mha"):
    again = tio.ScalarImage(folder / name)
    again.load()
    print(name, again.shape, again.data.dtype, torch.equal(again.data, edited.data))
    print("same place", np.allclose(again.affine, edited.affine, atol=1e-4))

plane = tio.ScalarImage(tensor=torch.arange(24).reshape(1, 6, 4, 1).to(torch.uint8))
plane.save(folder / "plane.png")
print("plane", plane.width, plane.height, tio.ScalarImage(folder / "plane.png").data.flatten()[:5])
print("picture", plane.as_pil().size, plane.as_pil(transpose=False).size)

itk = edited.as_sitk()
smooth = sitk.SmoothingRecursiveGaussian(itk, 1.5)
back = tio.ScalarImage.from_sitk(smooth)
print("through ITK", back.shape, np.allclose(back.affine, edited.affine, atol=1e-5))
print("smoother", round(float(back.data.std() / edited.data.std()), 4))

series = tio.ScalarImage([folder / "edited.nii.gz", folder / "edited.nrrd"])
print("sequence", series.shape)
arrays = tio.ScalarImage(tensor=np.ones((1, 3, 4, 5), np.uint16), affine=np.diag([1, 2, 3, 1.0]))
print("promoted", arrays.data.dtype, arrays.spacing)
for wrong in ({"tensor": np.ones((3, 4))}, {"path": {"a": 1}}, {"path": folder / "none.nii"}, {}):
    try:
        tio.ScalarImage(**wrong)
    except (TypeError, ValueError, FileNotFoundError) as error:
        kinds = (TypeError, ValueError, FileNotFoundError)
        print("refused", [kind.__name__ for kind in kinds if isinstance(error, kind)])


def numpy_reader(path):
    assert path.suffix == ".npy"
    return np.load(path).astype(np.float32), np.eye(4)


np.save(folder / "voxels.npy", np.arange(60).reshape(3, 4, 5))
custom = tio.ScalarImage(folder / "voxels.npy", reader=numpy_reader)
print("reader", custom.shape, float(custom.data.sum()), Path(custom.path).suffix)
