"""GIF and video, decoded again: frames, order, orientation, proportions, duration, colours."""

from __future__ import annotations

import sys

import av
import numpy as np
import pytest
from PIL import Image

import voxarray as vx
from voxarray.core.errors import MissingPackageError
from voxarray.core.label_colours import palette
from voxarray.testing.counting import count_reads

RAS = np.eye(4)
LPS = np.diag([-1, -1, 1, 1.0])
PIR = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)


def random_voxels(shape=(1, 16, 18, 20), high=256):
    return np.random.default_rng(0).integers(0, high, shape).astype(np.uint8)


def gif_frames(path):
    with Image.open(path) as image:
        frames, delays = [], []
        for n in range(image.n_frames):
            image.seek(n)
            frames.append(np.asarray(image.convert("RGB")))
            delays.append(image.info["duration"])
        return np.array(frames), delays, image.info


def video_frames(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate, codec = float(stream.average_rate), stream.codec_context.name
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.array(frames), rate, codec


# --- GIF ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_gif_frames_are_slices_as_plot_draws_them(tmp_path, axis, reverse):
    voxels = random_voxels()
    vx.ScalarImage(tensor=voxels).to_gif(
        axis, 1, tmp_path / "a.gif", rescale=False, reverse=reverse
    )
    frames, _, _ = gif_frames(tmp_path / "a.gif")
    slices = np.moveaxis(voxels[0], axis, 0).transpose(0, 2, 1)[:, ::-1, ::-1]
    np.testing.assert_array_equal(frames[..., 0], slices[::-1] if reverse else slices)


def test_gif_of_another_orientation(tmp_path):
    """The frames follow the voxel axis; each is drawn as the patient is looked at."""
    voxels = random_voxels()
    vx.ScalarImage(tensor=voxels, affine=PIR).to_gif(0, 1, tmp_path / "a.gif", rescale=False)
    frames, _, _ = gif_frames(tmp_path / "a.gif")
    # Coronal: H runs down already, D to the right, which belongs on the left.
    np.testing.assert_array_equal(frames[..., 0], voxels[0][:, :, ::-1])


def test_gif_duration_and_loop(tmp_path):
    image = vx.ScalarImage(tensor=random_voxels())
    image.to_gif(2, 1.23, tmp_path / "a.gif", loop=3)
    _, delays, info = gif_frames(tmp_path / "a.gif")
    assert len(delays) == 20
    assert sum(delays) == 1230
    assert info["loop"] == 3
    with pytest.warns(RuntimeWarning, match="frame rate from the given duration is too high"):
        image.to_gif(2, 0.1, tmp_path / "a.gif")
    assert gif_frames(tmp_path / "a.gif")[1] == [10] * 20


def test_gif_rescale(tmp_path):
    ramp = np.linspace(-1000, 3000, 12 * 10 * 10).reshape(1, 10, 10, 12).astype(np.float32)
    image = vx.ScalarImage(tensor=ramp)
    image.to_gif(2, 1, tmp_path / "a.gif")
    frames, _, _ = gif_frames(tmp_path / "a.gif")
    expected = (ramp[0].T[:, ::-1, ::-1] + 1000) / 4000 * 255
    assert abs(frames[..., 0] - expected).max() <= 1
    image.to_gif(2, 1, tmp_path / "b.gif", rescale=False)
    clipped = np.clip(ramp[0].T[:, ::-1, ::-1], 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(gif_frames(tmp_path / "b.gif")[0][..., 0], clipped)


def test_gif_optimize_makes_smaller_tables(tmp_path):
    image = vx.ScalarImage(tensor=random_voxels(high=4))
    for optimize in (True, False):
        image.to_gif(2, 1, tmp_path / f"{optimize}.gif", optimize=optimize)
    one, other = (gif_frames(tmp_path / f"{optimize}.gif")[0] for optimize in (True, False))
    np.testing.assert_array_equal(one, other)
    sizes = [(tmp_path / f"{optimize}.gif").stat().st_size for optimize in (True, False)]
    assert sizes[0] < sizes[1] - 20 * 700


def test_gif_proportions_and_labels(tmp_path):
    labels = random_voxels((1, 6, 7, 8), 9)
    vx.LabelMap(tensor=labels, affine=np.diag([1, 2, 1, 1.0])).to_gif(2, 1, tmp_path / "a.gif")
    frames, _, _ = gif_frames(tmp_path / "a.gif")
    expected = palette()[labels[0].T[:, ::-1, ::-1].repeat(2, axis=1)]
    np.testing.assert_array_equal(frames, expected)


def test_gif_of_colours(tmp_path):
    voxels = random_voxels((3, 6, 7, 2))
    vx.ScalarImage(tensor=voxels).to_gif(2, 1, tmp_path / "a.gif", rescale=False)
    frames, _, _ = gif_frames(tmp_path / "a.gif")
    np.testing.assert_array_equal(frames, voxels.transpose(3, 2, 1, 0)[:, ::-1, ::-1])


def test_gif_reads_every_voxel_once_per_pass(tmp_path):
    vx.ScalarImage(tensor=random_voxels()).save(tmp_path / "a.nii")
    image = vx.ScalarImage(tmp_path / "a.nii")
    for rescale, passes in ((False, 1), (True, 2)):
        with count_reads() as reads:
            image.to_gif(1, 1, tmp_path / "a.gif", rescale=rescale)
        assert reads.voxels == passes * 16 * 18 * 20
    assert "data" not in image


def test_gif_mistakes(tmp_path):
    image = vx.ScalarImage(tensor=random_voxels())
    with pytest.raises(ValueError, match="axis is 0, 1 or 2"):
        image.to_gif(3, 1, tmp_path / "a.gif")
    with pytest.raises(ValueError, match="positive"):
        image.to_gif(0, 0, tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [2, 4, 20])
def test_channels_that_make_no_film_are_refused_by_code(channels, tmp_path):
    image = vx.ScalarImage(tensor=random_voxels((channels, 2, 2, 2)))
    refusal = r"BAD_CHANNELS.*channels.*image\[0, :, :, :\]"
    with pytest.raises(vx.UnsupportedError, match=refusal):
        image.to_gif(0, 1, tmp_path / "a.gif")
    with pytest.raises(vx.UnsupportedError, match=refusal):
        image.to_video(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


# --- Video ----------------------------------------------------------------------------------------


def corner_phantom(affine, shape=(32, 32, 32)):
    """Bright in the right, anterior, superior octant."""
    grid = vx.Grid(shape, affine)
    points = grid.to_world(np.moveaxis(np.indices(shape), 0, -1))
    bright = (points > grid.centre).all(-1)
    return vx.ScalarImage(tensor=(200 * bright[None]).astype(np.uint8), affine=affine)


SECTIONS = {  # where the octant is: first or last half of frames, rows and columns
    "I": (0, 0, 0),
    "S": (1, 0, 0),
    "A": (1, 0, 0),
    "P": (0, 0, 0),
    "R": (1, 0, 0),
    "L": (0, 0, 0),
}


@pytest.mark.parametrize("affine", [RAS, LPS, PIR], ids=["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("direction", SECTIONS)
def test_video_directions(tmp_path, affine, direction):
    corner_phantom(affine).to_video(tmp_path / "a.mp4", direction=direction.lower())
    frames, *_ = video_frames(tmp_path / "a.mp4")
    halves = np.array(frames[..., 0].reshape(2, 16, 2, 16, 2, 16).mean((1, 3, 5)))
    assert np.unravel_index(halves.argmax(), (2, 2, 2)) == SECTIONS[direction]
    assert halves.max() > 180
    assert np.sort(halves.ravel())[-2] < 15


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9"), (".MP4", "h264")]
)
def test_video_rates(tmp_path, suffix, codec):
    image = corner_phantom(RAS)
    image.to_video(tmp_path / f"a{suffix}", seconds=2)
    frames, rate, found = video_frames(tmp_path / f"a{suffix}")
    assert len(frames) == 32
    assert found in (codec, f"lib{codec}", "libvpx-vp9")
    assert rate == pytest.approx(16)
    image.to_video(tmp_path / f"a{suffix}")
    assert video_frames(tmp_path / f"a{suffix}")[1] == pytest.approx(15)
    image.to_video(tmp_path / f"a{suffix}", frame_rate=None, seconds=4, verbosity="quiet")
    assert video_frames(tmp_path / f"a{suffix}")[1] == pytest.approx(8)


def test_video_pixels(tmp_path):
    """Grey levels come back as they went in, to a few levels; an odd edge is padded."""
    x, y = np.meshgrid(np.arange(63), np.arange(41), indexing="ij")
    voxels = np.stack([(2 * x + 3 * y + 5 * z) % 150 + 50 for z in range(3)], -1)
    smooth = np.sort(voxels, axis=0)[None].astype(np.uint8)
    vx.ScalarImage(tensor=smooth).to_video(tmp_path / "a.mp4", direction="S")
    frames, *_ = video_frames(tmp_path / "a.mp4")
    assert frames.shape == (3, 42, 64, 3)
    expected = smooth[0].T[:, ::-1, ::-1]
    assert np.median(abs(frames[:, :41, :63, 0].astype(int) - expected)) <= 4
    assert frames[:, 41:].max() < 60


@pytest.mark.parametrize("dtype", ["int16", "float32", "bool"])
def test_video_intensities(tmp_path, dtype):
    values = np.zeros((1, 32, 32, 4), dtype)
    values[0, 16:] = 1 if dtype == "bool" else 1000
    vx.ScalarImage(tensor=values).to_video(tmp_path / "a.mp4")
    frames, *_ = video_frames(tmp_path / "a.mp4")
    assert frames[:, :, :14].min() > 240
    assert frames[:, :, 18:].max() < 12


def test_video_proportions_and_labels(tmp_path):
    labels = np.zeros((1, 16, 16, 8), np.uint8)
    labels[0, 8:] = 2
    image = vx.LabelMap(tensor=labels, affine=np.diag([2, 1, 3, 1.0]))
    image.to_video(tmp_path / "a.mp4")
    frames, *_ = video_frames(tmp_path / "a.mp4")
    assert frames.shape == (8, 16, 32, 3)
    assert abs(frames[:, 4:12, 4:12].astype(int) - palette()[2]).max() < 40
    assert frames[:, :, 20:].max() < 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame_rate": None}, "Either seconds or frame_rate must be provided"),
        ({"frame_rate": 10, "seconds": 2}, "not both"),
        ({"seconds": -1}, "positive"),
        ({"direction": "X"}, "Direction must be one of"),
        ({"verbosity": "loud"}, "verbosity is one of"),
        ({"output_path": "a.avi"}, "ends in .mp4 or .webm"),
    ],
)
def test_video_mistakes(tmp_path, arguments, message):
    image = corner_phantom(RAS)
    path = tmp_path / arguments.pop("output_path", "a.mp4")
    with pytest.raises(ValueError, match=message):
        image.to_video(path, **arguments)
    assert not list(tmp_path.iterdir())


def test_missing_packages(tmp_path, monkeypatch):
    image = corner_phantom(RAS)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    with pytest.raises(MissingPackageError, match=r"pip install 'voxarray\[video\]'"):
        image.to_video(tmp_path / "a.mp4")
    with pytest.raises(MissingPackageError, match=r"pip install 'voxarray\[plot\]'"):
        image.to_gif(0, 1, tmp_path / "a.gif")
