"""Compiles ingest/native/*.c when the package is built or installed.

Without a C compiler the package works too, only slower. A compiler that fails is an error in CI, elsewhere a warning.
"""

import runpy
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILD = Path("ingest/native/build.py")
LIBRARY = Path("ingest/native/libjson_lines.so")


class CompileHook(BuildHookInterface):
    """Builds the compiled reader of dumps next to its sources, where an editable install looks for it too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as specific to this platform if that worked.

        Raises:
            BuildError: in CI, if the library cannot be built.
        """
        native = runpy.run_path(str(Path(self.root) / BUILD))
        try:
            native["build"]()
        except native["BuildError"] as error:
            if native["is_ci"]():
                raise
            is_broken = native["find_compiler"]() is not None
            warning = "WARNING: the compiled reader of dumps could not be built" if is_broken else "No compiled reader"
            sys.stderr.write(f"{warning}; `lurker ingest` works without it, but takes longer.\n{error}\n")
            return
        build_data["artifacts"].append(f"/{LIBRARY}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
