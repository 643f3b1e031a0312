"""Build the compiled reader: `python -m ingest.native.build`.

Needs the standard library alone, because the package's build hook runs this file before anything is installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
LIBRARY = FOLDER / "libjson_lines.so"
COMMAND = "python -m ingest.native.build"
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Flags of a library that aborts at the first bad memory access or undefined operation."""


class BuildError(Exception):
    """The compiler failed; the message is its command and output."""


def source_hash() -> str:
    """A hash of all C sources and headers, which the build compiles into the library."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.[ch]")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def find_compiler() -> list[str] | None:
    """The command of the C compiler, from the environment variable CC or `cc`; None if it is not installed."""
    command = (os.environ.get("CC") or "cc").split()
    return command if shutil.which(command[0]) else None


def is_ci() -> bool:
    """Whether this is continuous integration, where a missing or outdated library is an error."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def is_expected() -> bool:
    """Whether the library should exist: in CI always, elsewhere if there is a compiler to build it."""
    return is_ci() or find_compiler() is not None


def build(target: Path = LIBRARY, flags: Sequence[str] = ("-O3",)) -> None:
    """Compile the sources into a shared library without any part of Python in it.

    Args:
        target: where to write the library; replaced in one step, so a process that uses the old one is not disturbed.
        flags: flags of the compiler.

    Raises:
        BuildError: there is no compiler, or it failed.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(f"No C compiler found (tried {os.environ.get('CC') or 'cc'}).")
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    command = [*compiler, *flags, "-shared", "-fPIC", f'-DLURKER_SOURCE_HASH="{source_hash()}"', "-o", str(temporary)]
    try:
        done = subprocess.run(
            [*command, *map(str, sorted(FOLDER.glob("*.c")))], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BuildError(f"{' '.join(done.args)} failed with exit code {done.returncode}:\n{done.stderr}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    """Build the library in place; the exit code."""
    try:
        build()
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(f"Built {LIBRARY}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
