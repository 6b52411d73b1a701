"""Loops over voxels that numba compiles; imported only where it is installed (extra ``fast``).

Each function does the operations of its counterpart in NumPy or SciPy, in the same order and in
the same types, so that both give the same bits: no voxel depends on what is installed. Hence no
``fastmath``, which reorders and contracts operations.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import numpy as np

from voxarray.core.numba_compilation import compiled


@compiled
def _blend(below, above, weight, is_copied, out):
    """``below + weight (above - below)``, as `linear_tiles` has it."""
    kind = out.dtype.type
    if is_copied:
        for n in range(out.size):
            out[n] = below[n]
        return
    for n in range(out.size):
        a = kind(below[n])
        out[n] = a + (kind(above[n]) - a) * weight


@compiled
def _blend_four(a0, a1, b0, b1, w, v, w_copied, v_copied, out):
    """Four rows blended two by two; one pass, so that nothing leaves the processor's registers."""
    kind = out.dtype.type
    if w_copied or v_copied:
        if v_copied:
            _blend(a0, a1, w, w_copied, out)
        else:
            _blend(a0, b0, v, v_copied, out)
        return
    for n in range(out.size):
        a, b = kind(a0[n]), kind(b0[n])
        a = a + (kind(a1[n]) - a) * w
        b = b + (kind(b1[n]) - b) * w
        out[n] = a + (b - a) * v


@compiled
def _gather(row, first, second, weights, is_copied, out):
    kind = out.dtype.type
    if is_copied:
        for n in range(out.size):
            out[n] = row[first[n]]
        return
    for n in range(out.size):
        a = kind(row[first[n]])
        out[n] = a + (kind(row[second[n]]) - a) * weights[n]


@compiled
def _store(row, cut, out):
    """A row as voxels: integers cut off towards zero and clipped, as `as_stored` has it."""
    nudge, lowest, highest = cut
    if nudge == 0:
        for n in range(row.size):
            out[n] = row[n]
        return
    for n in range(row.size):
        out[n] = min(max(row[n] * nudge, lowest), highest)


@compiled
def _gather_and_store(row, first, second, weights, cut, out):
    """`_gather` and `_store` of integers in one pass."""
    nudge, lowest, highest = cut
    for n in range(out.size):
        a = row[first[n]]
        a = a + (row[second[n]] - a) * weights[n]
        out[n] = min(max(a * nudge, lowest), highest)


@compiled
def columns_last(voxels, strides, length, planes, lines, columns, lines_first, cut, work, out):
    """Linear interpolation along three parallel axes, the one of neighbours in memory last.

    Args:
        voxels: (n,) of the base in memory order.
        strides: Voxels from one plane to the next, and from one line to the next.
        length: Voxels of a line.
        planes: First and second index and weight of the second (n,) of the planes of the result,
            and whether the first is copied.
        lines: The same of the lines of the result.
        columns: The same of the columns of the result.
        lines_first: Whether lines come before planes.
        cut: Factor, smallest and largest number of integers; a factor of 0 for other types.
        work: (0,) of the type in which voxels are weighed.
        out: (planes, lines, columns), the result.
    """
    z0, z1, wz, z_copied = planes
    y0, y1, wy, y_copied = lines
    x0, x1, wx, x_copied = columns
    dz, dy = strides
    row = np.empty(length, work.dtype)
    result = np.empty(out.shape[2], work.dtype)
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            p00, p01 = z0[k] * dz + y0[j] * dy, z0[k] * dz + y1[j] * dy
            p10, p11 = z1[k] * dz + y0[j] * dy, z1[k] * dz + y1[j] * dy
            r00, r01 = voxels[p00 : p00 + length], voxels[p01 : p01 + length]
            r10, r11 = voxels[p10 : p10 + length], voxels[p11 : p11 + length]
            if lines_first:
                _blend_four(r00, r01, r10, r11, wy[j], wz[k], y_copied, z_copied, row)
            else:
                _blend_four(r00, r10, r01, r11, wz[k], wy[j], z_copied, y_copied, row)
            if cut[0] == 0 and out.dtype == row.dtype:
                _gather(row, x0, x1, wx, x_copied, out[k, j])
            elif x_copied or cut[0] == 0:
                _gather(row, x0, x1, wx, x_copied, result)
                _store(result, cut, out[k, j])
            else:
                _gather_and_store(row, x0, x1, wx, cut, out[k, j])


@compiled
def planes_last(voxels, strides, length, planes, lines, columns, lines_first, cut, work, out):
    """As `columns_last`, planes last; ``lines_first`` says whether lines come before columns.

    Each plane of the base is interpolated once, for all planes of the result next to it.
    """
    z0, z1, wz, z_copied = planes
    y0, y1, wy, y_copied = lines
    x0, x1, wx, x_copied = columns
    dz, dy = strides
    low, high = min(y0.min(), y1.min()), max(y0.max(), y1.max())
    buffers = np.empty((2, out.shape[1], out.shape[2]), work.dtype)
    plane_in_slot = np.full(2, -1)
    gathered = np.empty((1 if lines_first else high + 1 - low, out.shape[2]), work.dtype)
    row = np.empty(length, work.dtype)
    result = np.empty(out.shape[2], work.dtype)
    for k in range(out.shape[0]):
        for z in (z0[k], z1[k]):
            slot = z & 1
            if plane_in_slot[slot] == z or (z_copied and z != z0[k]):
                continue
            plane_in_slot[slot] = z
            if not lines_first:
                for y in range(low, high + 1):
                    p = z * dz + y * dy
                    line = voxels[p : p + length]
                    _gather(line, x0, x1, wx, x_copied, gathered[y - low])
            for j in range(out.shape[1]):
                if lines_first:
                    p, q = z * dz + y0[j] * dy, z * dz + y1[j] * dy
                    below, above = voxels[p : p + length], voxels[q : q + length]
                    _blend(below, above, wy[j], y_copied, row)
                    _gather(row, x0, x1, wx, x_copied, buffers[slot, j])
                else:
                    below, above = gathered[y0[j] - low], gathered[y1[j] - low]
                    _blend(below, above, wy[j], y_copied, buffers[slot, j])
        below, above = buffers[z0[k] & 1], buffers[z1[k] & 1]
        for j in range(out.shape[1]):
            _blend(below[j], above[j], wz[k], z_copied, result)
            _store(result, cut, out[k, j])


@compiled
def pick(voxels, strides, planes, lines, columns, out):
    """Single voxels at the crossings of three lists of indices.

    Args:
        voxels: (n,) of the base in memory order.
        strides: Voxels from one to the next along planes, lines and columns.
        planes: Indices (n,) of planes.
        lines: Indices (n,) of lines.
        columns: Indices (n,) of columns, already multiplied by their stride.
        out: (planes, lines, columns), the result.
    """
    for k in range(out.shape[0]):
        for j in range(out.shape[1]):
            row = voxels[planes[k] * strides[0] + lines[j] * strides[1] :]
            target = out[k, j]
            for n in range(target.size):
                target[n] = row[columns[n]]


@compiled
def _offset(index, stride):
    """Offset of a voxel; unsigned, as numba looks for negative ones else."""
    return np.uintp(np.intp(index)) * stride


@compiled
def _neighbours(below, last, stride):
    """Offset of a voxel, and from it to the next one, both cut to an axis."""
    first = _offset(min(max(below, 0.0), last), stride)
    return first, _offset(min(max(below + 1, 0.0), last), stride) - first


@compiled
def trilinear(voxels, strides, extent, lookup, columns, cut, out):
    """Straight lines between the eight voxels around each point, as SciPy's `map_coordinates`.

    Args:
        voxels: (n,) of the part of the base that was read, in memory order.
        strides: Voxels from one to the next along each of its axes.
        extent: (W, H, D) of the part.
        lookup: Matrix (3, 3) and shift (3,) from an index of the result to one of the base, first
            voxel of the part, and least and largest position inside the base, along each axis.
        columns: Indices of the result along W, H and D, in float64.
        cut: Factor, smallest and largest number of integers; a factor of 0 for other types.
        out: (D, H, W), the result; what lies outside the base is left as it is.
    """
    linear, shift, starts, bounds = lookup
    xs, ys, zs = columns
    nudge, lowest, highest = cut
    sx, sy, sz = np.uintp(strides[0]), np.uintp(strides[1]), np.uintp(strides[2])
    ex, ey, ez = extent[0] - 1.0, extent[1] - 1.0, extent[2] - 1.0
    # Scalars: what stands in arrays would be loaded again for each voxel, lest it has changed.
    ax, ay, az = linear[0, 0], linear[1, 0], linear[2, 0]
    (x_low, x_high), (y_low, y_high), (z_low, z_high) = bounds
    x_start, y_start, z_start = starts
    for k in range(zs.size):
        for j in range(ys.size):
            bx, by, bz = linear[0, 1] * ys[j], linear[1, 1] * ys[j], linear[2, 1] * ys[j]
            cx = linear[0, 2] * zs[k] + shift[0]
            cy = linear[1, 2] * zs[k] + shift[1]
            cz = linear[2, 2] * zs[k] + shift[2]
            for i in range(xs.size):
                # The order of operations of `points.Lookup`.
                x, y, z = (ax * xs[i] + bx) + cx, (ay * xs[i] + by) + cy, (az * xs[i] + bz) + cz
                gx, gy, gz = x, y, z
                x, y, z = x - x_start, y - y_start, z - z_start
                fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
                if 0 <= fx < ex and 0 <= fy < ey and 0 <= fz < ez:
                    p = _offset(fx, sx) + _offset(fy, sy) + _offset(fz, sz)
                    dx, dy, dz = sx, sy, sz
                elif not (x_low <= gx < x_high and y_low <= gy < y_high and z_low <= gz < z_high):
                    continue
                else:  # beyond the outermost centres both voxels are the outermost one
                    px, dx = _neighbours(fx, ex, sx)
                    py, dy = _neighbours(fy, ey, sy)
                    pz, dz = _neighbours(fz, ez, sz)
                    p = px + py + pz
                q = p + dx
                u0, v0, w0 = 1.0 - (x - fx), 1.0 - (y - fy), 1.0 - (z - fz)
                u1, v1, w1 = 1.0 - u0, 1.0 - v0, 1.0 - w0
                # SciPy's order of operations; another one would round differently.
                value = np.float64(voxels[p]) * u0 * v0 * w0
                value += np.float64(voxels[p + dz]) * u0 * v0 * w1
                value += np.float64(voxels[p + dy]) * u0 * v1 * w0
                value += np.float64(voxels[p + dy + dz]) * u0 * v1 * w1
                value += np.float64(voxels[q]) * u1 * v0 * w0
                value += np.float64(voxels[q + dz]) * u1 * v0 * w1
                value += np.float64(voxels[q + dy]) * u1 * v1 * w0
                value += np.float64(voxels[q + dy + dz]) * u1 * v1 * w1
                out[k, j, i] = value if nudge == 0 else min(max(value * nudge, lowest), highest)


@compiled
def nearest(voxels, strides, extent, lookup, columns, half, out):
    """The voxel nearest to each point.

    Args:
        voxels: As of `trilinear`.
        strides: As of `trilinear`.
        extent: As of `trilinear`.
        lookup: As of `trilinear`.
        columns: As of `trilinear`.
        out: As of `trilinear`.
        half: What is added to a position before it is rounded down.
    """
    linear, shift, starts, bounds = lookup
    xs, ys, zs = columns
    sx, sy, sz = np.uintp(strides[0]), np.uintp(strides[1]), np.uintp(strides[2])
    ex, ey, ez = extent[0] - 1.0, extent[1] - 1.0, extent[2] - 1.0
    # Scalars: what stands in arrays would be loaded again for each voxel, lest it has changed.
    ax, ay, az = linear[0, 0], linear[1, 0], linear[2, 0]
    (x_low, x_high), (y_low, y_high), (z_low, z_high) = bounds
    x_start, y_start, z_start = starts
    for k in range(zs.size):
        for j in range(ys.size):
            bx, by, bz = linear[0, 1] * ys[j], linear[1, 1] * ys[j], linear[2, 1] * ys[j]
            cx = linear[0, 2] * zs[k] + shift[0]
            cy = linear[1, 2] * zs[k] + shift[1]
            cz = linear[2, 2] * zs[k] + shift[2]
            for i in range(xs.size):
                # The order of operations of `points.Lookup`.
                x, y, z = (ax * xs[i] + bx) + cx, (ay * xs[i] + by) + cy, (az * xs[i] + bz) + cz
                if not (x_low <= x < x_high and y_low <= y < y_high and z_low <= z < z_high):
                    continue
                x = min(max(np.floor(x + half) - x_start, 0.0), ex)
                y = min(max(np.floor(y + half) - y_start, 0.0), ey)
                z = min(max(np.floor(z + half) - z_start, 0.0), ez)
                p = (
                    np.uintp(np.intp(x)) * sx
                    + np.uintp(np.intp(y)) * sy
                    + np.uintp(np.intp(z)) * sz
                )
                out[k, j, i] = voxels[p]
