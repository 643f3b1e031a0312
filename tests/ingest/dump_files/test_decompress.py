"""Files decompressed in place give what decoders give piece by piece, however they end."""

import gc
import io
import weakref
import zlib
from contextlib import suppress

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.dump_files import decompress
from ingest.dump_files.decompress import CutShortError, decompressed

SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def filled(stored, room_bytes, read_bytes=1 << 17):
    """All that comes out, and whether the file was whole."""
    found, room = b"", bytearray(room_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompress, "READ_BYTES", read_bytes)
        patch.setattr(decompress, "PIECE_BYTES", read_bytes)
        fill = decompressed(io.BytesIO(stored))
        try:
            while n_bytes := fill(memoryview(room)):
                found += room[:n_bytes]
        except CutShortError:
            return found, False
    return found, True


def in_pieces(stored):
    """The same by the library's decoder of one frame after the other."""
    found, rest = b"", stored
    while rest.strip(b"\x00"):
        decoder = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
        try:
            found += decoder.decompress(rest)
        except zstandard.ZstdError:
            return found, False
        if not decoder.eof:
            return found, False
        rest = decoder.unused_data
    return found, True


def frame(data, **parameters):
    compressor = zstandard.ZstdCompressor(**parameters).compressobj()
    return compressor.compress(data) + compressor.flush()


_DATA = st.tuples(st.binary(max_size=30), st.integers(1, 4_000)).map(lambda data: data[0] * data[1])
_FRAME = st.builds(frame, _DATA, level=st.sampled_from([-5, 3]), write_checksum=st.booleans())
_FILE = st.lists(_FRAME | st.just(SKIPPABLE), min_size=1, max_size=3).map(b"".join)
_BEHIND = st.sampled_from([b"", b"", bytes(5), bytes(70_000), b"garbage", b"\x28\xb5", b"\x28\xb5\x2f\xfd", SKIPPABLE])


@settings(max_examples=250, deadline=None)
@given(
    _FILE, _BEHIND, st.sampled_from([1, 7, 29, 1_000, 1 << 20]), st.floats(0, 1), st.sampled_from([1, 5, 9, 1 << 17])
)
@example(frame(b""), b"", 1, 1.0, 1)
@example(frame(b"x" * 29), b"", 29, 1.0, 1 << 17)
@example(frame(bytes(3 << 20)), b"", 1 << 20, 1.0, 1 << 17)
def test_frames_of_zstd_whole_padded_and_cut(stored, behind, room_bytes, share, read_bytes):
    for content in (stored + behind, stored[: max(4, int(share * len(stored)))]):
        is_frame = content.startswith(b"\x28\xb5\x2f\xfd")  # else it is taken for a plain file
        assert filled(content, room_bytes, read_bytes) == (in_pieces(content) if is_frame else (content, True))


@settings(max_examples=200, deadline=None)
@given(_DATA.filter(bool), st.integers(0, 10_000), st.integers(1, 255), st.sampled_from([7, 1_000, 1 << 20]))
def test_damage_is_told_and_nothing_is_made_up(data, place, change, room_bytes):
    stored = bytearray(frame(data, write_checksum=True))
    stored[4 + place % (len(stored) - 4)] ^= change
    found, is_whole = filled(bytes(stored), room_bytes)
    assert (found, is_whole) == (data, True) or not is_whole


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 2, b"here the file came to its end", b"y" * 40])
@pytest.mark.parametrize("room_bytes", [1, 29, 512, 1 << 16])
def test_a_cut_at_every_place(data, room_bytes):
    """What follows the file when it is read must not be taken for the bytes that are lacking."""
    first = frame(b"first")
    for last in (zstandard.ZstdCompressor().compress(data), frame(data), frame(data, write_checksum=True)):
        for n_bytes in range(1, len(last)):
            found, is_whole = filled(first + last[:n_bytes], room_bytes)
            assert not is_whole
            assert (b"first" + data).startswith(found)
        assert filled(first + last, room_bytes) == (b"first" + data, True)


def test_the_window_goes_when_the_file_was_read():
    """A window may be of 2 GiB: it must not wait for the collector of cycles."""
    for stored in (frame(b"abc"), frame(b"abc")[:-1]):
        fill = decompressed(io.BytesIO(stored))
        with suppress(CutShortError):
            while fill(memoryview(bytearray(100))):
                pass
        seen = weakref.ref(fill.__self__)
        gc.disable()
        try:
            del fill
            assert seen() is None
        finally:
            gc.enable()


def test_the_bytes_that_were_read_are_told():
    for stored in (frame(b"abc" * 1_000), zlib.compress(b"abc"), b"plain"):
        told = []
        fill = decompressed(io.BytesIO(stored), told.append)
        while fill(memoryview(bytearray(100))):
            pass
        assert sum(told) == len(stored)
