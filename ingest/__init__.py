"""In: dump files, live Reddit, Arctic Shift or a simulated Reddit.
Out: posts, comments and observations in a workspace, and a report of every call."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.api import archive as archive
    from ingest.api import dumps as dumps
    from ingest.api import ids as ids
    from ingest.api import reddit as reddit
    from ingest.api import refresh as refresh
    from ingest.api import simulate as simulate

__all__ = ["archive", "dumps", "ids", "reddit", "refresh", "simulate"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ingest import api

        return getattr(api, name)
    raise AttributeError(f"module 'ingest' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
