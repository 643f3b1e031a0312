"""The tests of compiled code once more, with a library that aborts at the first bad memory access (`make slow`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.native.build import SANITIZED, build, find_compiler, is_expected

TESTS = Path(__file__).parents[1]
FILES = ["native/test_json_lines.py", "native/test_hostile_lines.py", "tables/test_compiled_comments.py"]
RUN = """
import sys
from pathlib import Path
import pytest
from ingest.native import library
library.LIBRARY = Path(sys.argv[1])
status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "slow or not slow", *sys.argv[2:]])
print("sanitized:", library.compiled()._name)
sys.exit(status)
"""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_expected(), reason="there is no C compiler")]


def run_sanitized(command, *libraries):
    """Run a command of Python, which is not sanitized itself: the sanitizers' runtime must be loaded before it."""
    shown = [
        subprocess.run(
            [*find_compiler(), f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout
        for name in libraries
    ]
    environment = {
        **{**os.environ, "LD_PRELOAD": " ".join(map(str.strip, shown)), "ASAN_OPTIONS": "detect_leaks=0"},
        "PYTHONMALLOC": "malloc",  # Python's own allocator would hide reads behind short lines
    }
    return subprocess.run(
        [sys.executable, "-c", *command], env=environment, capture_output=True, text=True, check=False
    )


def test_no_bad_memory_access(tmp_path):
    sanitized = tmp_path / "sanitized.so"
    build(sanitized, SANITIZED)
    files = [str(TESTS / name) for name in FILES]
    # The runtime wraps C++'s throw, which DuckDB uses, so that library must be loaded too.
    done = run_sanitized([RUN, str(sanitized), *files], "libasan.so", "libstdc++.so.6")
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    assert f"sanitized: {sanitized}" in done.stdout


def test_the_sanitizers_see_a_read_behind_the_lines(tmp_path):
    """Otherwise the test above would pass whatever the library does."""
    sanitized = tmp_path / "sanitized.so"
    build(sanitized, SANITIZED)
    code = (
        "import ctypes, sys, numpy as np; data = np.frombuffer(bytearray(100), dtype=np.uint8); "
        "ctypes.CDLL(sys.argv[1]).lurker_count_lines(ctypes.c_void_p(data.ctypes.data), ctypes.c_int64(200))"
    )
    done = run_sanitized([code, str(sanitized)], "libasan.so")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
