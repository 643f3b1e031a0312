"""Peak memory of a large file: the window and a constant, whatever the file's size."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from tests.ingest.conftest import comment_row

PROJECT = Path(__file__).parents[2]
WINDOW_BYTES = 2**31
ALLOWED_BYTES = 800_000_000
"""Beyond the window."""
FILE_BYTES = 2_000_000_000
"""Of JSON."""


def write_large(path, n_bytes, seed=0):
    """Comments with random words, in threads of five subreddits, under a window of 2 GiB; how many."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randint(1, 5)).hex() for _ in range(20_000)]
    filler = {f"field_{n}": None for n in range(25)}  # rows of the dumps have about fifty fields
    row = comment_row(0) | filler | {"id": "<id>", "link_id": "<link>", "parent_id": "<link>", "body": "<body>"}
    line = json.dumps(row | {"subreddit": "<subreddit>", "created_utc": 0}).replace("%", "%%")
    for slot in ("<id>", "<link>", "<link>", "<body>", "<subreddit>"):
        line = line.replace(slot, "%s", 1)
    order = [line.index(key) for key in ('"id"', '"link_id"', '"parent_id"', '"subreddit"', '"body"')]
    assert order == sorted(order)
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31)
    n_rows = n_written = 0
    with path.open("wb") as file:
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        while n_written < n_bytes:
            lines = []
            for _ in range(10_000):
                n_rows += 1
                post = f"t3_{n_rows // 40:x}"
                lines.append(
                    line % (f"{n_rows:x}", post, post, f"sub{n_rows // 40 % 5}", " ".join(rng.choices(words, k=60)))
                )
            data = ("\n".join(lines) + "\n").encode()
            n_written += len(data)
            file.write(compressor.compress(data))
        file.write(compressor.flush())
    return n_rows


@pytest.mark.slow
def test_peak_memory_is_the_window_and_a_constant(tmp_path):
    path = tmp_path / "RC_large.zst"
    n_rows = write_large(path, FILE_BYTES)
    with path.open("rb") as file:
        assert zstandard.get_frame_parameters(file.read(18)).window_size == WINDOW_BYTES
    command = [
        sys.executable,
        "-m",
        "lurker",
        "--workspace",
        str(tmp_path / "ws"),
        "ingest",
        "dump",
        str(path),
        "--json",
    ]
    child = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    (report,) = json.loads(out)["files"]
    assert report["n_comments"] == n_rows
    sys.stderr.write(f"peak memory {peak_bytes / 1e9:.2f} GB for {path.stat().st_size / 1e9:.2f} GB stored\n")
    assert peak_bytes <= WINDOW_BYTES + ALLOWED_BYTES
