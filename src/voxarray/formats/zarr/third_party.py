"""Opening an image in a Zarr hierarchy that another program wrote."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.metadata import Label, parse_labels
from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, GridError, UnsupportedError, VoxarrayWarning
from voxarray.formats.zarr import named_dimensions
from voxarray.formats.zarr.axes import AxisOrder, canonical
from voxarray.formats.zarr.cf import Decoding
from voxarray.formats.zarr.nifti_zarr import header_of
from voxarray.formats.zarr.node import Node, require
from voxarray.formats.zarr.ome import Multiscale
from voxarray.formats.zarr.ome_groups import (
    COLLECTIONS,
    axes_before_geometry,
    collected,
    has_geometry,
    image_with,
    is_image,
)
from voxarray.formats.zarr.source import Level, ZarrSource
from voxarray.formats.zarr.voxels import ZarrVoxels
from voxarray.geometry.coordinates import PLACED_BY_ROOT
from voxarray.geometry.grid import checked_affine
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.base import Channels
from voxarray.storage.store import Store


def open_third_party(store: Store, nodes: Sequence[Node], path: str) -> ZarrSource:
    """An image at a node.

    Args:
        store: The hierarchy.
        nodes: The node, then the groups that it lies in.
        path: As the user named it, for messages.

    Raises:
        UnsupportedError: It holds several images, or none, or one that has no (C, W, H, D) form.
        FormatError: Its metadata are wrong.
    """
    node, above = nodes[0], nodes[1:]
    if not node.is_array:
        return _open_group(store, node, above, path)
    for number, group in enumerate(above):
        relative = node.key[len(group.key) :].strip("/")
        image = image_with(group, relative, path) if is_image(group) else None
        if image is None:
            continue
        if not has_geometry(image, group, path):
            names = axes_before_geometry(image, group, path)
            return _open_array(store, group, node, path, names)
        multiscale = Multiscale.parse(image, group, path)
        source = _open_image(store, group, above[number + 1 :], multiscale, path)
        return source.level(multiscale.paths.index(relative))
    return _open_array(store, above[0] if above else None, node, path)


def _open_group(store: Store, group: Node, above: Sequence[Node], path: str) -> ZarrSource:
    if is_image(group):
        return _open_image(store, group, above, Multiscale.of(group, path), path)
    if COLLECTIONS & group.ome.keys():
        names = collected(store, group, path)
        if not names:
            raise UnsupportedError(
                f"{path} should be a collection of images, but holds none: give the path of an "
                "image",
                code="NO_IMAGE",
                path=path,
            )
        if len(names) > 1:
            raise _several(path, names)
        image = require(Node.read(store, group.below(names[0])), store, group.below(names[0]))
        return _open_image(store, image, (group, *above), Multiscale.of(image, path), path)
    nodes = group.children(store)
    images = [node for node in nodes if node.is_array and _is_image(node)]
    if len(images) == 1:
        return _open_array(store, group, images[0], path)
    if images:
        raise _several(path, [node.name for node in images])
    inner = [node.name for node in nodes if is_image(node)]
    hint = f"; give the path of an image below it, such as {path}/{inner[0]}" if inner else ""
    raise UnsupportedError(
        f"{path} is a Zarr group without an image: it holds {[node.name for node in nodes]}{hint}",
        code="NO_IMAGE",
        path=path,
    )


def _is_image(array: Node) -> bool:
    """Whether an array is no coordinate: scalars and rows along an axis are."""
    shape = array.document.get("shape", ())
    return isinstance(shape, list) and len(shape) > 1


def _several(path: str, names: list[str]) -> UnsupportedError:
    example = f", for example {path}/{names[0]}" if names else ""
    return UnsupportedError(
        f"{path} holds several images, {names}: give the path of one of them{example}",
        code="MULTIPLE_IMAGES",
        path=path,
    )


# --- OME-Zarr and NIfTI-Zarr ------------------------------------------------------------------


def _open_image(
    store: Store, group: Node, above: Sequence[Node], image: Multiscale, path: str
) -> ZarrSource:
    header = header_of(store, group)
    arrays = [_array(store, group.below(level), path) for level in image.paths]
    voxels = [ZarrVoxels.of(store, array, (group,)) for array in arrays]
    orders = []
    for array, values in zip(arrays, voxels, strict=True):
        _require_same_names(array, image, path)
        orders.append(AxisOrder.of(image.names, values.shape, path))
    decodings = [Decoding.of(a, v.dtype, path) for a, v in zip(arrays, voxels, strict=True)]
    _require_same_decoding(decodings, path)
    frame = _frame(store, header, image, above, path)
    affines = [_placed(frame @ image.intrinsic(n, path), path) for n in range(len(arrays))]
    channels = image.channels(orders[0].counts)
    if header is not None:
        _require_same_shape(header, orders[0], path)
        affines[0] = header.affine  # to the bit
        channels = header.channels
    return ZarrSource(
        pyramid=tuple(
            Level(values, order, _nested(affine), decoding)
            for values, order, affine, decoding in zip(
                voxels, orders, affines, decodings, strict=True
            )
        ),
        path=path,
        channels=channels,
        scaling=header.scaling if header else decodings[0].scaling,
        label_table=_labels(group, path),
        header=header.scrubbed() if header else None,
    )


def _array(store: Store, key: str, path: str) -> Node:
    node = require(Node.read(store, key), store, key)
    if not node.is_array:
        raise FormatError(
            f"{key} of {path} should be an array, but is a group: write the store again",
            code="BAD_METADATA",
            path=path,
        )
    return node


def _frame(
    store: Store,
    header: NiftiHeader | None,
    image: Multiscale,
    above: Sequence[Node],
    path: str,
) -> NDArray[np.float64]:
    """(4, 4) from the coordinates of OME-Zarr, which know only spacings, to RAS+ mm.

    A NIfTI header places level 0; other levels, and label maps below the image, lie relative to it
    as their transformations say (as nifti-zarr's own ``zarr2nii`` has it).
    """
    if header is not None:
        return _from_level_0(header, image, path)
    for group in _image_of_labels(above):
        parent = header_of(store, group)
        if parent is not None:
            return _from_level_0(parent, Multiscale.of(group, path), path)
    return image.world_of(path)


def _from_level_0(header: NiftiHeader, image: Multiscale, path: str) -> NDArray[np.float64]:
    inverse = np.linalg.inv(_placed(image.intrinsic(0, path), path))
    return np.asarray(header.affine @ inverse)


def _image_of_labels(above: Sequence[Node]) -> list[Node]:
    """The image to whose ``labels`` group a node belongs."""
    if len(above) > 1 and above[0].name == "labels" and is_image(above[1]):
        return [above[1]]
    return []


def _require_same_names(array: Node, image: Multiscale, path: str) -> None:
    """The array's own names of its axes may not say something else than OME-Zarr's."""
    named = [canonical(name) for name in array.dimension_names or ()]
    pairs = [(a, b) for a, b in zip(named, image.names, strict=False) if a and a in "xyzct"]
    if any(a != b for a, b in pairs):
        raise FormatError(
            f"the dimensions of {array.key} are named {named}, but the metadata of its image name "
            f"them {image.names}: repair one of the two",
            code="BAD_AXES",
            path=path,
        )


def _require_same_decoding(decodings: Sequence[Decoding], path: str) -> None:
    """Levels that stand for other intensities than the first would be another image."""
    stands_for = operator.attrgetter("marks", "scaling", "decoded")
    if any(stands_for(other) != stands_for(decodings[0]) for other in decodings):
        raise FormatError(
            f"the levels of {path} differ in their type, scale_factor, add_offset or marks of "
            "missing voxels: repair their attributes",
            code="MIXED_ENCODING",
            path=path,
        )


def _require_same_shape(header: NiftiHeader, order: AxisOrder, path: str) -> None:
    if header.shape != order.shape:
        raise FormatError(
            f"the NIfTI header of {path} describes {header.shape} (C, W, H, D) voxels, and its "
            f"array has {order.shape}: write the store again",
            code="HEADER_MISMATCH",
            path=path,
        )


def _labels(group: Node, path: str) -> tuple[Label, ...]:
    described: Any = group.ome.get("image-label")
    if not described:
        return ()
    try:
        return parse_labels(described)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"the image-label of {path} does not follow the specification of OME-Zarr "
            f"({error!r}): repair it, or remove it",
            code="BAD_METADATA",
            path=path,
        ) from error


# --- Plain arrays -----------------------------------------------------------------------------


def _open_array(
    store: Store, group: Node | None, array: Node, path: str, names: Sequence[str] | None = None
) -> ZarrSource:
    """An array of which nothing but its axes is said, and perhaps coordinates beside it.

    Args:
        store: The hierarchy.
        group: In which it lies.
        array: The array.
        path: As the user named it, for messages.
        names: Of its axes, where it does not name them itself.

    Raises:
        FormatError: Codes as in `named_dimensions.affine_beside` and `_require_no_other_place`.
    """
    voxels = ZarrVoxels.of(store, array, () if group is None else (group,))
    if names is None or len(names) != len(voxels.shape):
        names = named_dimensions.names_of(array, store)
    order = AxisOrder.of(names, voxels.shape, path)
    affine = named_dimensions.affine_beside(store, group, array, names, order)
    if affine is None:
        _require_no_other_place(array, path)
        warn_caller(
            f"nothing says where the voxels are: spacings of 1 mm and the axes R, A and S are "
            f"assumed; set image.affine if that is wrong [{path}]",
            VoxarrayWarning,
        )
        affine = np.eye(4)
    channels = Channels.stated(array.attributes, order.shape[0])
    if order.counts == "t":
        channels = Channels("time", named_dimensions.time_step(store, group, names))
    by_xarray = "_ARRAY_DIMENSIONS" in array.attributes
    decoding = Decoding.of(array, voxels.dtype, path, by_xarray=by_xarray)
    return ZarrSource(
        pyramid=(Level(voxels, order, _nested(affine), decoding),),
        path=path,
        channels=channels,
        scaling=decoding.scaling,
    )


def _require_no_other_place(array: Node, path: str) -> None:
    """Refuse a coarse level that was taken out of its archive, where it says its place is.

    Raises:
        FormatError: ``NO_COORDINATES``.
    """
    if PLACED_BY_ROOT.items() <= array.attributes.items():
        raise FormatError(
            f"{path} is a coarse level that was taken out of its archive, and only the archive "
            "says where its voxels are: open the archive, and take image.level(n); or read the "
            "store with xarray, and give vx.ScalarImage.from_xarray(array, affine=affine)",
            code="NO_COORDINATES",
            path=path,
        )


def _placed(affine: NDArray[np.float64], path: str) -> NDArray[np.float64]:
    try:
        return checked_affine(affine)
    except GridError as error:
        raise FormatError(error.message, code=error.code, path=path) from error


def _nested(affine: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in affine)
