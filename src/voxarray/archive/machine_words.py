"""Calls of C functions and access to memory by address, for the compiled loops; numba has neither.

Addresses are arguments, not constants, so that compiled code can be cached on disk: the C functions
have other addresses in each process. Nothing here checks bounds; the caller has to.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# ruff: noqa: ARG001  # numba looks at the arguments of intrinsics, whose code gets them as a list
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

intrinsic: Any = extending.intrinsic  # its annotations leave out the first argument

_BYTE, _INT, _LONG = ir.IntType(8), ir.IntType(32), ir.IntType(64)
WOVEN = 16
"""Items that `weave2`, `weave4` and `weave8` make at a time."""
TURNED = 8
"""Rows and columns of the squares that `turn1` to `turn8` transpose."""


def _signature(count: int) -> Any:
    return types.int64(*[types.int64] * count)


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _calling(result: Any, kinds: Sequence[Any], signed: bool) -> Any:
    """Code that calls the C function whose address is the first argument, with the others."""

    def code(context, builder, signature, arguments):
        function = _pointer(builder, arguments[0], ir.FunctionType(result, kinds))
        call_arguments = [
            argument if kind is _LONG else builder.trunc(argument, kind)
            for argument, kind in zip(arguments[1:], kinds, strict=True)
        ]
        result_value = builder.call(function, call_arguments)
        if result is _LONG:
            return result_value
        return builder.sext(result_value, _LONG) if signed else builder.zext(result_value, _LONG)

    return code


@intrinsic
def crc32c(typing, function, data, size):
    """Of crc32c: ``uint32_t crc32c_value(const uint8_t* data, size_t size)``."""
    return _signature(3), _calling(_INT, [_LONG, _LONG], signed=False)


@intrinsic
def pread(typing, function, file, buffer, size, offset):
    """Of the C library; gives bytes read, or -1 (``ssize_t``, its size and offset are 64 bits)."""
    return _signature(5), _calling(_LONG, [_INT, _LONG, _LONG, _LONG], signed=True)


@intrinsic
def decompress_lz4(typing, function, source, target, size, capacity):
    """Of LZ4: ``int LZ4_decompress_safe(const char*, char*, int size, int capacity)``."""
    return _signature(5), _calling(_INT, [_LONG, _LONG, _INT, _INT], signed=True)


@intrinsic
def decompress_blosc(typing, function, source, target, size, threads):
    """Of blosc: ``int blosc_decompress_ctx(const void*, void*, size_t size, int threads)``."""
    return _signature(5), _calling(_INT, [_LONG, _LONG, _LONG, _INT], signed=True)


def _loading(kind: Any) -> Any:
    def code(context, builder, signature, arguments):
        value = builder.load(_pointer(builder, arguments[0], kind), align=1)
        return value if kind is _LONG else builder.zext(value, _LONG)

    return code


@intrinsic
def byte_at(typing, address):
    """An unsigned number of 8 bits."""
    return _signature(1), _loading(_BYTE)


@intrinsic
def word_at(typing, address):
    """An unsigned number of 32 bits."""
    return _signature(1), _loading(_INT)


@intrinsic
def long_at(typing, address):
    """A number of 64 bits."""
    return _signature(1), _loading(_LONG)


@intrinsic
def put_word(typing, address, value):
    """Write a number of 32 bits."""

    def code(context, builder, signature, arguments):
        value = builder.trunc(arguments[1], _INT)
        builder.store(value, _pointer(builder, arguments[0], _INT), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic
def move(typing, target, source, size):
    """Copy bytes between places that do not overlap."""

    def code(context, builder, signature, arguments):
        target, source, size = arguments
        pointers = _pointer(builder, target, _BYTE), _pointer(builder, source, _BYTE)
        cgutils.raw_memcpy(builder, *pointers, size, 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), code


def _mover(size: int) -> Any:
    """Copies ``size`` bytes by one load and one store; a call of ``memcpy`` costs more."""
    kind = ir.VectorType(_BYTE, size)

    def code(context, builder, signature, arguments):
        value = builder.load(_pointer(builder, arguments[1], kind), align=1)
        builder.store(value, _pointer(builder, arguments[0], kind), align=1)
        return context.get_dummy_value()

    @intrinsic
    def move(typing, target, source):
        return types.void(types.int64, types.int64), code

    return move


move1, move2, move4, move8, move32 = (_mover(size) for size in (1, 2, 4, 8, 32))


@intrinsic
def clear(typing, target, size):
    """Set bytes to zero."""

    def code(context, builder, signature, arguments):
        cgutils.memset(builder, _pointer(builder, arguments[0], _BYTE), arguments[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


def _zip(builder: Any, first: Any, second: Any, begin: int, count: int) -> Any:
    """Items of two vectors, interleaved, ``count`` of each."""
    length = first.type.count
    order = [n for i in range(begin, begin + count) for n in (i, length + i)]
    mask = ir.Constant(ir.VectorType(_INT, len(order)), order)
    return builder.shuffle_vector(first, second, mask)


def _weaver(size: int) -> Any:
    """Undoes blosc's byte shuffle for `WOVEN` items of ``size`` bytes."""

    def code(context, builder, signature, arguments):
        target, source, plane = arguments
        kind = ir.VectorType(_BYTE, WOVEN)
        parts, plane_start = [], source
        for _ in range(size):
            parts.append(builder.load(_pointer(builder, plane_start, kind), align=1))
            plane_start = builder.add(plane_start, plane)
        width = 8
        while len(parts) > 1:
            width *= 2
            wider = ir.VectorType(ir.IntType(width), WOVEN)
            parts = [
                builder.bitcast(_zip(builder, low, high, 0, WOVEN), wider)
                for low, high in zip(parts[::2], parts[1::2], strict=True)
            ]
        builder.store(parts[0], _pointer(builder, target, parts[0].type), align=1)
        return context.get_dummy_value()

    @intrinsic
    def weave(typing, target, source, plane):
        """Items whose bytes lie in planes; ``plane`` is the distance between two planes."""
        return types.void(types.int64, types.int64, types.int64), code

    return weave


def _turner(size: int) -> Any:
    """Transposes `TURNED` x `TURNED` items of ``size`` bytes."""

    def code(context, builder, signature, arguments):
        target, to_next, source, from_next = arguments
        kind = ir.VectorType(ir.IntType(8 * size), TURNED)
        rows = []
        for _ in range(TURNED):
            rows.append(builder.load(_pointer(builder, source, kind), align=1))
            source = builder.add(source, from_next)
        half = TURNED // 2
        # An item's position has 3 bits of row and 3 of column. Each step rotates these 6 bits by
        # one, so that after 3 steps rows and columns have changed places.
        for _ in range(TURNED.bit_length() - 1):
            rows = [
                _zip(builder, rows[i], rows[i + half], begin, half)
                for i in range(half)
                for begin in (0, half)
            ]
        for row in rows:
            builder.store(row, _pointer(builder, target, kind), align=1)
            target = builder.add(target, to_next)
        return context.get_dummy_value()

    @intrinsic
    def turn(typing, target, to_next, source, from_next):
        """``to_next`` and ``from_next`` are the bytes from one row to the next."""
        return types.void(types.int64, types.int64, types.int64, types.int64), code

    return turn


weave2, weave4, weave8 = (_weaver(size) for size in (2, 4, 8))
turn1, turn2, turn4, turn8 = (_turner(size) for size in (1, 2, 4, 8))
