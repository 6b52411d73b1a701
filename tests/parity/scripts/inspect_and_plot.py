"""Look at a scan before doing anything with it. Arguments: a scan, a folder for pictures."""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import torchio as tio

matplotlib.use("agg")
scan, folder = Path(sys.argv[1]), Path(sys.argv[2])

image = tio.ScalarImage(scan, modality="T1")
print(image)
print("shape", image.shape, "spatial", image.spatial_shape, "channels", image.num_channels)
print("spacing", [round(mm, 3) for mm in image.spacing])
print("origin", [round(float(mm), 3) for mm in image.origin])
print("orientation", image.orientation, image.orientation_str)
print("centre RAS", np.round(image.get_center(), 3).tolist())
print("centre LPS", np.round(image.get_center(lps=True), 3).tolist())
print("bounds", np.round(image.bounds, 3).tolist())
print("left is axis", image.axis_name_to_index("Left"), "opposite", image.flip_axis("Left"))
print("memory", int(image.memory), "bytes,", image.itemsize, "each")
print("modality", image["modality"], "type", image[tio.TYPE] == tio.INTENSITY)
print("stem", image[tio.STEM], "name", Path(image[tio.PATH]).name)
print("one tensor", image.data is image[tio.DATA], image.data is image.tensor)
print("mean", round(float(image.data.float().mean()), 4), "max", int(image.data.max()))
print("same array", np.array_equal(image.numpy(), np.asarray(image)))

figure = image.plot(return_fig=True, show=False, title="scan")
titles = [axes.get_title() for axes in figure.axes]
print("planes", titles)
image.plot(show=False, output_path=folder / "planes.png", percentiles=(1, 99), figsize=(9, 3))
image.hist(show=False)
image.to_gif(2, 1.0, folder / "slices.gif")
print("pictures", sorted(path.name for path in folder.iterdir()))
image.unload()
print("unloaded", image.get(tio.DATA) is None)
