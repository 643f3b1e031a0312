"""How often Python looks for garbage in a process of Lurker."""

import gc

GARBAGE_THRESHOLD = 10_000
"""New objects after which Python looks for garbage. Imports make many objects and no garbage: at Python's 700, looking
for it takes a tenth of the time that torch and transformers need to load."""


def collect_rarely() -> None:
    """Look for garbage less often; for the start of a process, before it imports much."""
    gc.set_threshold(GARBAGE_THRESHOLD)
