"""Chunks of a patch read, checked, decoded and put in place in one call, compiled by numba.

Nothing here says what is wrong. Whatever is not as this archive writes it (a checksum, a size, a
header, a codec) stops the loop at that chunk, which `voxarray.archive.reader` then reads as if
there were no compiled loops: it has the errors, and the last word. What decompresses are the same C
functions that it uses. Every size that a file states is compared with what is there before it is
used as one.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from voxarray.archive.machine_words import (
    TURNED,
    WOVEN,
    byte_at,
    clear,
    crc32c,
    decompress_blosc,
    decompress_lz4,
    long_at,
    move,
    move1,
    move2,
    move4,
    move8,
    move32,
    pread,
    put_word,
    turn1,
    turn2,
    turn4,
    turn8,
    weave2,
    weave4,
    weave8,
    word_at,
)
from voxarray.core.numba_compilation import compiled

MACHINE_WORDS = "0dd8553dd476f3f1"
"""Digest of ``machine_words.py``, which is compiled into what stands here.

numba takes what it keeps on disk for current while this file is the same, and looks at no other.
"""

_CRC_BYTES = 4
_RESIDUE = 0x48674BC7  # as `voxarray.archive.codecs` has it
_HEADER = 16
_FORMAT, _LZ4_FORMAT = 2, 1
_SHUFFLED, _UNCOMPRESSED, _BIT_SHUFFLED, _UNKNOWN, _WHOLE = 0x1, 0x2, 0x4, 0x8, 0x10
_LZ4 = 1
_LEAST_SPLIT, _MOST_STREAMS = 128, 16


@compiled
def _weave_all(target, source, count, size):
    """Undo the shuffle of bytes for ``count`` items, of which each byte lies in its own plane."""
    done = 0
    while done + WOVEN <= count:
        if size == 2:
            weave2(target + 2 * done, source + done, count)
        elif size == 4:
            weave4(target + 4 * done, source + done, count)
        else:
            weave8(target + 8 * done, source + done, count)
        done += WOVEN
    for item in range(done, count):
        for byte in range(size):
            move1(target + item * size + byte, source + byte * count + item)


@compiled
def _decode_block(body, length, place, target, size, streams, lz4):
    """Decode the streams of an LZ4 block; whether all was as it must be."""
    if size % streams:
        return False
    each = size // streams
    for stream in range(streams):
        if place + 4 > length:
            return False
        stored = word_at(body + place)
        place += 4
        if stored <= 0 or place + stored > length:
            return False
        if stored == each:
            move(target + stream * each, body + place, each)
        elif decompress_lz4(lz4, body + place, target + stream * each, stored, each) != each:
            return False
        place += stored
    return True


@compiled
def _decode_lz4(body, length, first, last, block, decoded, size, target, streams_at, lz4):
    """Decode blocks ``first`` to ``last`` of a frame whose header was looked at."""
    flags = byte_at(body + 2)
    is_woven = flags & _SHUFFLED and size > 1
    for number in range(first, last):
        begin = number * block
        bytes_here = min(block, decoded - begin)
        is_split = (
            not flags & _WHOLE
            and size <= _MOST_STREAMS
            and block // size >= _LEAST_SPLIT
            and bytes_here == block
        )
        if is_woven and bytes_here % size:
            return False
        place = word_at(body + _HEADER + 4 * number)
        if place < _HEADER + 4 * (-(-decoded // block)):
            return False
        into = streams_at if is_woven else target + begin
        if not _decode_block(body, length, place, into, bytes_here, size if is_split else 1, lz4):
            return False
        if is_woven:
            _weave_all(target + begin, streams_at, bytes_here // size, size)
    return True


@compiled
def _decode(body, length, begin, end, decoded, size, target, streams_at, lz4, blosc):
    """Decode at least the bytes from ``begin`` to ``end`` of a chunk to where they belong.

    Returns:
        Address of the decoded chunk, 0 if that is not possible here. What was stored as it is stays
        where it is.
    """
    if length < _HEADER or word_at(body + 4) != decoded or word_at(body + 12) != length:
        return 0
    flags, block = byte_at(body + 2), word_at(body + 8)
    if byte_at(body) != _FORMAT or byte_at(body + 1) != _LZ4_FORMAT or byte_at(body + 3) != size:
        return 0
    if flags & _UNKNOWN or block <= 0 or block > decoded:
        return 0
    if flags & _UNCOMPRESSED:
        return body + _HEADER if length == _HEADER + decoded else 0
    first, last = begin // block, -(-end // block)
    if _HEADER + 4 * (-(-decoded // block)) > length:
        return 0
    if flags >> 5 == _LZ4 and not flags & _BIT_SHUFFLED:
        done = _decode_lz4(body, length, first, last, block, decoded, size, target, streams_at, lz4)
        return target if done else 0
    stop = min(last * block, decoded)
    if first and stop - first * block < block:
        first -= 1  # as `BloscFrame.decode_part` has it
    start = first * block
    if stop - start < decoded:
        for number in range(first, last):
            put_word(body + _HEADER + 4 * (number - first), word_at(body + _HEADER + 4 * number))
        put_word(body + 4, stop - start)
    found = decompress_blosc(blosc, body, target + start, stop - start, 1)
    return target if found == stop - start else 0


@compiled
def _turn(size, target, to_next, source, from_next):
    if size == 1:
        turn1(target, to_next, source, from_next)
    elif size == 2:
        turn2(target, to_next, source, from_next)
    elif size == 4:
        turn4(target, to_next, source, from_next)
    else:
        turn8(target, to_next, source, from_next)


@compiled
def _move_line(target, source, size):
    """Copy a line of voxels; the last step may copy some bytes again."""
    if size >= 32:
        for done in range(0, size - 31, 32):
            move32(target + done, source + done)
        move32(target + size - 32, source + size - 32)
    elif size >= 8:
        for done in range(0, size - 7, 8):
            move8(target + done, source + done)
        move8(target + size - 8, source + size - 8)
    else:
        move(target, source, size)


@compiled
def _move_voxel(target, source, size):
    if size == 1:
        move1(target, source)
    elif size == 2:
        move2(target, source)
    elif size == 4:
        move4(target, source)
    else:
        move8(target, source)


@compiled
def _put_lines(source, steps, counts, target, strides, size):
    """Copy a volume (z, y, x) of a chunk whose lines along x lie together in both places."""
    for z in range(counts[1]):
        for y in range(counts[2]):
            to = target + z * strides[1] + y * strides[2]
            if source:
                _move_line(to, source + z * steps[1] + y * steps[2], counts[3] * size)
            else:
                clear(to, counts[3] * size)


@compiled
def _put_turned(source, steps, counts, target, strides, size):
    """Copy a volume (z, y, x) of a chunk to where lines along z lie together.

    A few lines along x at a time: there is a page of memory for each of them in the target, and the
    processor knows few at once.
    """
    depth, height, width = counts[1], counts[2], counts[3]
    if source == 0:
        for x in range(width):
            for y in range(height):
                clear(target + x * strides[3] + y * strides[2], depth * size)
        return
    if depth < TURNED or width < TURNED:
        for x in range(width):
            for y in range(height):
                to = target + x * strides[3] + y * strides[2]
                origin = source + x * size + y * steps[2]
                for z in range(depth):
                    _move_voxel(to + z * size, origin + z * steps[1], size)
        return
    for column in range(0, width, TURNED):
        x = min(column, width - TURNED)  # the last tile may copy some voxels again
        for y in range(height):
            to = target + x * strides[3] + y * strides[2]
            origin = source + x * size + y * steps[2]
            for tile in range(0, depth, TURNED):
                z = min(tile, depth - TURNED)
                _turn(size, to + z * size, strides[3], origin + z * steps[1], steps[1])


@compiled
def _put(source, steps, counts, target, strides, size):
    """Copy a box of a chunk to its place; 0 as a source stands for background."""
    for n in range(counts[0]):
        origin = source + n * steps[0] if source else 0
        if strides[3] == size:
            _put_lines(origin, steps, counts, target + n * strides[0], strides, size)
        else:
            _put_turned(origin, steps, counts, target + n * strides[0], strides, size)


@compiled
def _encoded(shard, slot, buffer, capacity, reading, crc):
    """Read a chunk and compare its checksum.

    Returns:
        Bytes of its body; 0 if it is background, -1 if it is not as it must be.
    """
    file, start, offsets, lengths, crcs = shard[0], shard[1], shard[2], shard[3], shard[4]
    offset, length = long_at(offsets + 8 * slot), long_at(lengths + 8 * slot)
    if offset < 0:
        return 0
    if length <= _CRC_BYTES or length > capacity:
        return -1
    if pread(reading, file, buffer, length, start + offset) != length:
        return -1
    body = length - _CRC_BYTES
    if crcs:
        return body if crc32c(crc, buffer, body) == long_at(crcs + 8 * slot) else -1
    return body if crc32c(crc, buffer, length) == _RESIDUE else -1


@compiled
def read_chunks(job, stop, starts, stops, chunk, shards, out, size, buffers, functions):
    """Read some of the chunks that a box touches into memory.

    Args:
        job: Number of the first chunk, of all that the box touches, in the order (n, z, y, x).
        stop: The one after the last.
        starts: First voxel (n, z, y, x) of the box.
        stops: The one after its last.
        chunk: Voxels of a chunk, and chunks of a shard, (n, z, y, x) each.
        shards: Positions (n, z, y, x) of the first shard; how many there are; and a table (shard,
            5) of their files, offsets in these, and addresses of where chunks begin, how many bytes
            they have and their checksums (0 if there are none), as numbers of 64 bits.
        out: Address of the box, and bytes from voxel to voxel (n, z, y, x): those along x lie
            together, or those along z.
        size: Bytes of a voxel: 1, 2, 4 or 8.
        buffers: Addresses of memory for an encoded chunk, its size, for a decoded one, for a block.
        functions: Addresses of pread, crc32c_value, LZ4_decompress_safe, blosc_decompress_ctx.

    Returns:
        ``stop``, or the number of the chunk that cannot be read here.
    """
    shape, per_shard = chunk
    origin, along, table = shards
    address, strides = out
    encoded_at, capacity, decoded_at, streams_at = buffers
    reading, crc, lz4, blosc = functions
    steps = (
        shape[1] * shape[2] * shape[3] * size,
        shape[2] * shape[3] * size,
        shape[3] * size,
        size,
    )
    decoded = shape[0] * steps[0]
    f0, f1, f2, f3 = (
        starts[0] // shape[0],
        starts[1] // shape[1],
        starts[2] // shape[2],
        starts[3] // shape[3],
    )
    m1 = (stops[1] - 1) // shape[1] + 1 - f1
    m2 = (stops[2] - 1) // shape[2] + 1 - f2
    m3 = (stops[3] - 1) // shape[3] + 1 - f3
    while job < stop:
        c3, rest = f3 + job % m3, job // m3
        c2, rest = f2 + rest % m2, rest // m2
        c1, c0 = f1 + rest % m1, f0 + rest // m1
        shard = (c0 // per_shard[0] - origin[0]) * along[1] + c1 // per_shard[1] - origin[1]
        shard = (shard * along[2] + c2 // per_shard[2] - origin[2]) * along[3]
        shard += c3 // per_shard[3] - origin[3]
        slot = (c0 % per_shard[0]) * per_shard[1] + c1 % per_shard[1]
        slot = (slot * per_shard[2] + c2 % per_shard[2]) * per_shard[3] + c3 % per_shard[3]
        b0, b1 = max(starts[0] - c0 * shape[0], 0), max(starts[1] - c1 * shape[1], 0)
        b2, b3 = max(starts[2] - c2 * shape[2], 0), max(starts[3] - c3 * shape[3], 0)
        counts = (
            min(stops[0] - c0 * shape[0], shape[0]) - b0,
            min(stops[1] - c1 * shape[1], shape[1]) - b1,
            min(stops[2] - c2 * shape[2], shape[2]) - b2,
            min(stops[3] - c3 * shape[3], shape[3]) - b3,
        )
        body = _encoded(table[shard], slot, encoded_at, capacity, reading, crc)
        if body < 0:
            return job
        first = b0 * steps[0] + b1 * steps[1] + b2 * steps[2] + b3 * size
        source = 0
        if body:
            last = first + (counts[0] - 1) * steps[0] + (counts[1] - 1) * steps[1]
            last += (counts[2] - 1) * steps[2] + counts[3] * size
            source = _decode(
                encoded_at, body, first, last, decoded, size, decoded_at, streams_at, lz4, blosc
            )
            if source == 0:
                return job
            source += first
        to = address
        to += (c0 * shape[0] + b0 - starts[0]) * strides[0]
        to += (c1 * shape[1] + b1 - starts[1]) * strides[1]
        to += (c2 * shape[2] + b2 - starts[2]) * strides[2]
        to += (c3 * shape[3] + b3 - starts[3]) * strides[3]
        _put(source, steps, counts, to, strides, size)
        job += 1
    return job
