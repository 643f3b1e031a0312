"""The processor that figures were measured on, in words."""

import os
import platform
from pathlib import Path

INSTRUCTION_SETS = ("avx2", "avx512f", "amx_tile")
"""Those that decide how fast matrices and sorts are."""


def processor() -> str:
    """The processor's name, the number of cores in use and its instruction sets that matter here."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fields = _cpuinfo()
    name = fields.get("model name") or platform.processor() or platform.machine()
    known = [flag for flag in INSTRUCTION_SETS if flag in fields.get("flags", "").split()]
    return ", ".join([name, f"{n_cores} cores", *known])


def _cpuinfo() -> dict[str, str]:
    """The fields of the last core in /proc/cpuinfo; empty on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
