"""Keywords of plots that are none are named, with what is meant."""

from __future__ import annotations

import inspect

import pytest

import voxarray as vx
from voxarray.rendering import lightbox, subject_plot, volume
from voxarray.rendering.intensity_window import FULL_RANGE


@pytest.mark.parametrize(
    ("method", "keyword", "value", "text"),
    [
        ("plot", "label", "a label map", "'label': use labels="),
        ("plot", "index", 3, "'index': use indices="),
        ("plot", "percentile", (1, 99), "use percentiles="),
        ("plot", "xyz", 1, "'xyz'; it takes .*indices"),
        ("lightbox", "label", "a label map", "'label': use labels="),
        ("lightbox", "column", 3, "'column': use columns="),
        ("lightbox", "slices", [20, 30], "numbers of slices.*indices="),
        ("lightbox", "columns", "3", "numbers of slices"),
    ],
)
def test_unknown_keywords_are_refused(method, keyword, value, text):
    scan = vx.testing.sample()
    if value == "a label map":
        value = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
    with pytest.raises(TypeError, match=text):
        getattr(scan, method)(**{keyword: value}, show=False)


def test_what_matplotlib_takes_is_passed_on():
    scan = vx.testing.sample()
    options = {"vmin": 0, "alpha": 0.5, "interpolation": "nearest", "label": "scan", "zorder": 2}
    scan.plot(show=False, **options)
    scan.lightbox(slices=2, show=False, clim=(0, 1), gid="a")


@pytest.mark.parametrize("method", [vx.Image.view, vx.Image.neuroglancer, vx.Subject.view])
def test_methods_show_the_default_that_drawing_has(method):
    assert inspect.signature(method).parameters["percentiles"].default == FULL_RANGE


@pytest.mark.parametrize(
    ("method", "draws"),
    [
        (vx.Image.plot, volume.plot),
        (vx.Image.lightbox, lightbox.lightbox),
        (vx.Subject.plot, subject_plot.plot),
    ],
)
def test_help_describes_every_keyword_and_refers_to_nothing_internal(method, draws):
    keywords = inspect.signature(draws).parameters
    named = [name for name in keywords if name not in ("image", "images") and "kwargs" not in name]
    assert [name for name in named if name not in method.__doc__] == []
    assert "voxarray." not in method.__doc__
