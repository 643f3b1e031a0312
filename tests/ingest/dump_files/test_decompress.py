"""Files decompressed into a buffer give the same bytes as decoding piece by piece, however the files end."""

import gc
import io
import weakref
from contextlib import suppress

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.dump_files import decompress
from ingest.dump_files.decompress import CutShortError, decompressed

SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def decompress_all(stored, buffer_bytes, read_bytes=1 << 17):
    """The complete output, and whether the file was complete."""
    output, buffer = b"", bytearray(buffer_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompress, "READ_BYTES", read_bytes)
        patch.setattr(decompress, "PIECE_BYTES", read_bytes)
        fill = decompressed(io.BytesIO(stored))
        try:
            while n_bytes := fill(memoryview(buffer)):
                output += buffer[:n_bytes]
        except CutShortError:
            return output, False
    return output, True


def in_pieces(stored):
    """The same with the library's decoder, frame by frame."""
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
def test_zstd_frames_complete_padded_or_truncated(stored, behind, buffer_bytes, share, read_bytes):
    for content in (stored + behind, stored[: max(4, int(share * len(stored)))]):
        is_frame = content.startswith((b"\x28\xb5\x2f\xfd", SKIPPABLE[:4]))  # otherwise it is read as a plain file
        assert decompress_all(content, buffer_bytes, read_bytes) == (
            in_pieces(content) if is_frame else (content, True)
        )


@settings(max_examples=200, deadline=None)
@given(_DATA.filter(bool), st.integers(0, 10_000), st.integers(1, 255), st.sampled_from([7, 1_000, 1 << 20]))
def test_damage_is_reported_and_no_bytes_are_invented(data, offset, change, buffer_bytes):
    stored = bytearray(frame(data, write_checksum=True))
    stored[4 + offset % (len(stored) - 4)] ^= change
    found, is_complete = decompress_all(bytes(stored), buffer_bytes)
    assert (found, is_complete) == (data, True) or not is_complete


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 2, b"here the file came to its end", b"y" * 40])
@pytest.mark.parametrize("buffer_bytes", [1, 29, 512, 1 << 16])
def test_truncation_at_every_byte(data, buffer_bytes):
    """The mark after the file must not be taken for the missing bytes."""
    first = frame(b"first")
    for last in (zstandard.ZstdCompressor().compress(data), frame(data), frame(data, write_checksum=True)):
        for n_bytes in range(1, len(last)):
            found, is_complete = decompress_all(first + last[:n_bytes], buffer_bytes)
            assert not is_complete
            assert (b"first" + data).startswith(found)
        assert decompress_all(first + last, buffer_bytes) == (b"first" + data, True)


def test_the_window_is_freed_without_garbage_collection():
    """A window may take 2 GiB: freeing it must not wait for the cycle collector."""
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
