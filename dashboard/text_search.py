"""Which pairs of a set hold a text: every text is read, a part of the file at a time, by a search for bytes.

An index of words would take longer to build than hundreds of these searches and could not find parts of words.
"""

import re
from functools import lru_cache

import polars as pl

from dashboard.pair_index import Mask
from dashboard.queries import FileVersion
from lurker.errors import LurkerError
from lurker.pair_sets import TEXTS


@lru_cache(maxsize=8)
def pairs_with(file: FileVersion, search: str) -> Mask:
    """Whether the prompt or a response of each pair contains the text, in any case, [n_pairs].

    Raises:
        LurkerError: the file is damaged.
    """
    pattern = f"(?i){re.escape(search)}"
    holds = pl.any_horizontal(pl.col(name).str.contains(pattern) for name in TEXTS)
    try:
        found = pl.scan_parquet(file.path).select(holds=holds.fill_null(False)).collect(engine="streaming")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise LurkerError(f"Cannot read {file.path}: {str(error).splitlines()[0]}.") from error
    return found["holds"].to_numpy()
