"""Volumes of labels, and intensities inside them. Arguments: a scan, a segmentation."""

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchio as tio

scan, segmentation = Path(sys.argv[1]), Path(sys.argv[2])

subject = tio.Subject(
    t1=tio.ScalarImage(scan, check_nans=True), seg=tio.LabelMap(segmentation), age=45, name="sub-01"
)
print(subject, len(subject), subject.age, subject["name"])
print("one grid", subject.spatial_shape, [round(mm, 3) for mm in subject.spacing])
subject.check_consistent_space()

counts = subject.seg.count_labels()
print("labels", counts, "not background", subject.seg.count_nonzero())
voxel = float(np.prod(subject.seg.spacing))
for label, count in counts.items():
    inside = subject.t1.data[subject.seg.data == label].float()
    print(label, f"{count * voxel:.2f} mm3", f"mean {inside.mean():.3f}", f"std {inside.std():.3f}")

mask = tio.LabelMap(tensor=subject.seg.data == 2, affine=subject.seg.affine)
print("mask", mask.data.dtype, mask.count_nonzero(), mask.type == tio.LABEL)
crop = subject[2:8]
print("crop", crop.spatial_shape, crop["seg"].count_labels())
for image in subject.get_images(intensity_only=False):
    print(type(image).__name__, image.path.name, tuple(image.data.shape))
subject.add_image(mask, "mask")
print("names", subject.get_images_names())
copied = pickle.loads(pickle.dumps(subject.seg))
print("pickled", torch.equal(copied.data, subject.seg.data), copied["stem"])
for kind, wrong in ((tio.LabelMap, tio.INTENSITY), (tio.ScalarImage, tio.LABEL)):
    try:
        kind(segmentation, type=wrong)
    except ValueError as error:
        print("refused", type(error).__name__ in ("ValueError", "TypeError"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tio.ScalarImage(tensor=torch.full((1, 2, 2, 2), float("nan")), check_nans=True)
    tio.Image(tensor=torch.zeros(1, 2, 2, 2))
print("warned", sorted({item.category.__name__ for item in caught}))
subject.t1.load()
subject.t1.unload()
print("after unloading", round(float(subject.t1.data.float().mean()), 4))
