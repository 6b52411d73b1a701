"""Reading planes of one file: rows of uncompressed ones alone, compressed ones as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, VoxarrayError
from voxarray.formats.dicom import itk_decoder, tags
from voxarray.formats.dicom.codecs import decoder_of
from voxarray.formats.dicom.pixel_layout import EXPLICIT_BIG, PixelLayout
from voxarray.source.block_cache import BLOCKS
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.raw_voxels import RawVoxels, as_bytes, read_exactly

_KEYWORDS = {
    tags.PIXELS: "PixelData",
    tags.FLOAT_PIXELS: "FloatPixelData",
    tags.DOUBLE_PIXELS: "DoubleFloatPixelData",
}


@dataclass(frozen=True, slots=True)
class PixelFile:
    """The pixels of one file.

    Attributes:
        identity: The file, as it was when its header was read.
        layout: How its pixels lie.
    """

    identity: FileIdentity
    layout: PixelLayout

    def planes(self, frames: Sequence[int], box: Sequence[range]) -> Iterator[NDArray]:
        """Parts of frames (channels, rows, columns), one after another, as they are stored.

        Each is valid until the next is asked for.

        Args:
            frames: Numbers of frames.
            box: Ascending ranges of channels, rows and columns.

        Raises:
            SourceChangedError: The file is not the one that was opened.
            TruncatedError: It ends before its pixels do.
            UnsupportedError: Nothing decodes them (``NO_CODEC``).
            FormatError: They are damaged (``BAD_PIXEL_DATA``).
        """
        fd = self.identity.open()
        try:
            part = np.empty([len(r) for r in box], self.layout.dtype)
            for frame in frames:
                if self.layout.is_raw:
                    self._read_raw(fd, frame, box, part)
                elif self.layout.is_bits:
                    self._read_bits(fd, frame, box, part)
                else:
                    part[...] = self._decoded(fd, frame, box)
                yield part
            self.identity.check(fd)
        except VoxarrayError as error:
            error.path = self.identity.path
            raise
        finally:
            os.close(fd)

    def _read_raw(self, fd: int, frame: int, box: Sequence[range], out: NDArray) -> None:
        layout = self.layout
        dtype = layout.dtype.newbyteorder(">" if layout.syntax == EXPLICIT_BIG else "<")
        channels, rows, columns = box
        if layout.is_tiled:
            down, right = divmod(frame, layout.across)
            shape = (layout.down, layout.rows, layout.across, layout.columns)
            tile = (range(down, down + 1), rows, range(right, right + 1), columns)
            RawVoxels(layout.element.offset, shape, dtype).read(fd, tile, out[:, :, None])
        elif layout.samples > 1 and not layout.planar:
            shape = (layout.frames, layout.rows, layout.columns, layout.samples)
            pixels = np.empty((1, len(rows), len(columns), len(channels)), layout.dtype)
            ranges = (range(frame, frame + 1), rows, columns, channels)
            RawVoxels(layout.element.offset, shape, dtype).read(fd, ranges, pixels)
            out[...] = pixels[0].transpose(2, 0, 1)
        else:
            shape = (layout.frames, layout.samples, layout.rows, layout.columns)
            ranges = (range(frame, frame + 1), channels, rows, columns)
            RawVoxels(layout.element.offset, shape, dtype).read(fd, ranges, out[None])
        drop_unused_bits(out, layout)

    def _read_bits(self, fd: int, frame: int, box: Sequence[range], out: NDArray) -> None:
        """Unpack the rows that are wanted, the lowest bit of a byte first (PS3.5, 8.1.1).

        A frame need not begin with a byte, and pydicom 3.0 refuses many that do not.
        """
        layout = self.layout
        _, rows, columns = box
        start = (frame * layout.rows + rows[0]) * layout.columns
        stop = (frame * layout.rows + rows[-1] + 1) * layout.columns
        first, last = start // 8, -(-stop // 8)
        packed = np.empty(last - first, np.uint8)
        read_exactly(fd, as_bytes(packed), layout.element.offset + first)
        bits = np.unpackbits(packed, bitorder="little")[start - 8 * first :][: stop - start]
        pixels = bits.reshape(-1, layout.columns)[:: rows.step]
        out[0] = pixels[:, columns.start : columns.stop : columns.step]

    def _decoded(self, fd: int, frame: int, box: Sequence[range]) -> NDArray:
        """Part of a frame; the whole of it goes to the block cache, unless all is wanted."""
        layout = self.layout
        channels, rows, columns = box
        if layout.is_tiled:  # the tiles of a mosaic are decoded together
            down, right = divmod(frame, layout.across)
            rows = _moved(rows, down * layout.rows)
            columns = _moved(columns, right * layout.columns)
            frame = 0
        key = self.identity, "dicom", frame
        if tuple(map(len, box)) == self._decoded_shape and key not in BLOCKS:
            return self._decode(fd, frame)
        decoded = BLOCKS.get(key, lambda: self._decode(fd, frame))
        slices = tuple(slice(r.start, r.stop, r.step) for r in (channels, rows, columns))
        part: NDArray = decoded[slices]
        return part

    @property
    def _decoded_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a plane in the file."""
        layout = self.layout
        return layout.samples, layout.rows * layout.down, layout.columns * layout.across

    def _decode(self, fd: int, frame: int) -> NDArray:
        layout = self.layout
        decoder = decoder_of(layout)
        with open(os.dup(fd), "rb") as file:
            file.seek(layout.element.offset)
            try:
                if decoder is None:
                    pixels = itk_decoder.decode(file, layout, frame)
                else:
                    pixels, _ = decoder.as_array(file, index=frame, **self._options())
            except VoxarrayError:
                raise
            except Exception as error:  # whatever a plug-in raises, bytes are what it disliked
                # Its text may quote the file, so that it is not repeated.
                raise FormatError(
                    f"the pixels of frame {frame} (counted from 0) could not be decoded "
                    f"({type(error).__name__} in the decoder): the file is damaged, copy or "
                    "export it again",
                    code="BAD_PIXEL_DATA",
                ) from None
        samples, rows, columns = self._decoded_shape
        array = pixels.reshape(rows, columns, samples).transpose(2, 0, 1)
        array = np.ascontiguousarray(array, layout.dtype)
        array.flags.writeable = False
        return array

    def _options(self) -> dict[str, object]:
        layout = self.layout
        return {
            "pixel_keyword": _KEYWORDS[layout.element.tag],
            "pixel_vr": layout.element.vr or "OW",
            "rows": self._decoded_shape[1],
            "columns": self._decoded_shape[2],
            "number_of_frames": 1 if layout.is_tiled else layout.frames,
            "samples_per_pixel": layout.samples,
            "planar_configuration": int(layout.planar),
            "photometric_interpretation": layout.photometric,
            "pixel_representation": int(layout.signed),
            "bits_allocated": layout.allocated,
            "bits_stored": layout.stored,
        }


def _moved(indices: range, by: int) -> range:
    return range(indices.start + by, indices.stop + by, indices.step)


def drop_unused_bits(pixels: NDArray, layout: PixelLayout) -> None:
    """Clear the bits above those stored, or fill them with the sign, in place.

    They are no part of the value (PS3.5, 8.1.1); old files keep overlays there.
    """
    unused = layout.dtype.itemsize * 8 - layout.stored
    if unused and layout.dtype.kind in "iu" and layout.allocated > 1:
        np.left_shift(pixels, unused, out=pixels)
        np.right_shift(pixels, unused, out=pixels)
