"""Compiles ingest/native/*.c when the package is built or installed; without a C compiler the package works too."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("ingest/native")
LIBRARY = Path("ingest/native/libjson_lines.so")


class CompileHook(BuildHookInterface):
    """The reader of JSON lines and what goes on from it, as a library without any part of Python in it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile beside the sources, where an editable install looks too."""
        compiler = os.environ.get("CC") or "cc"
        sources = sorted((Path(self.root) / SOURCES).glob("*.c"))
        command = [*compiler.split(), "-O3", "-shared", "-fPIC", "-o", LIBRARY, *sources]
        try:
            subprocess.run(command, cwd=self.root, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.stderr.write(f"No compiled reader of JSON lines ({error}): dumps take half as long again.\n")
            return
        build_data["artifacts"].append(f"/{LIBRARY}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
