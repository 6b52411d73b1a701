"""Keys of archives stay those of earlier releases: otherwise all archives would be made again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxarray.archive.options import Options
from voxarray.archive.outline import Outline
from voxarray.archive.projection import peak_of, usual_block
from voxarray.archive.write_plan import WritePlan
from voxarray.cohort.discover.duplicates import marked
from voxarray.cohort.discover.input import DiscoveredInput
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan import planning
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.cohort.plan.item import Input
from voxarray.cohort.plan.plan import key_of
from voxarray.source.array import ArraySource

TEXTS = st.text(max_size=4)
CELLS = st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats(allow_nan=False), max_size=4)


@given(TEXTS, st.lists(TEXTS | st.none(), max_size=3), CELLS)
def test_a_key_is_the_digest_of_sorted_json(name, files, cells):
    parts = [name, files, cells]
    text = json.dumps(parts, sort_keys=True)
    assert key_of(parts) == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("kept", [{}, {"b": 1, "a": "x"}])
def test_keys_of_an_item(kept):
    found = DiscoveredInput(subject="s", image="t1", source="a.nii", location="/a.nii", kept=kept)
    image = Input("a.nii", InputFingerprint(1, 2, "stamp"), "head", "series")
    layer = Input("seg.nii", InputFingerprint(3, 4, "other"), "tail")
    opened = planning._OpenedInput(found, image, "t1", facts={"modality": "MR"})
    labels = [planning._OpenedInput(replace(found, kind="label"), layer, "seg")]
    item = planning._item(opened, labels, "options")
    cells = [kept] if kept else []
    for stamps, key in ((("stamp", "other"), item.key), ((None, None), item.unstamped)):
        files = [["a.nii", stamps[0], "head", "series"], ["seg.nii", stamps[1], "tail", None]]
        assert key == key_of(["s", "t1", "intensity", files, "options", *cells])
    assert (item.origin, item.layers[0].origin, item.slug[:4]) == (image, layer, "s_t1")
    assert item.facts == {"modality": "MR"}
    assert planning._are_of_these_cells([item], [found], "options")


@pytest.mark.parametrize("kind", ["intensity", "label"])
@pytest.mark.parametrize("dtype", ["i2", "f4", "f8"])
def test_a_header_says_what_the_conversion_would(kind, dtype):
    source = ArraySource(np.zeros((2, 30, 20, 10), dtype), np.diag([1, 2, 3, 1.0]))
    options = ArchiveOptions(levels="all", chunk=8)
    header = planning.header_of(source, options, kind)
    plan = WritePlan.of(source, kind, (), Options(levels="all", chunk=8))
    storage, layouts = plan.storage, plan.layouts
    assert header.peak == peak_of(storage, layouts, usual_block(source, layouts[0]))
    outline = Outline.of(source, kind, Options(levels="all", chunk=8))
    assert (outline.layouts, outline.factors) == (layouts, plan.metadata.factors)
    assert type(outline.tally()) is type(plan.tally())


def test_images_of_one_name_name_each_other_and_others_nothing():
    names = [("a", "x.nii"), ("b", "y.nii"), ("a", "z.nii"), ("a", "w.nii")]
    inputs = [DiscoveredInput(subject=s, image="t", source=n, location=n) for s, n in names]
    found = [one.collides_with for one in marked(inputs)]
    assert found == [("z.nii", "w.nii"), (), ("x.nii", "w.nii"), ("x.nii", "z.nii")]
