from pathlib import Path

import polars as pl

from features.sets.store import read_parts, write_parts
from lurker.schema import PAIRS


def test_a_file_of_pairs_does_not_depend_on_chunks_in_memory(tmp_path: Path) -> None:
    n = 3_000
    whole = pl.DataFrame(
        {
            name: [f"{name} {number} " * 50 for number in range(n)] if dtype == pl.String else [1] * n
            for name, dtype in dict(PAIRS.schema).items()
        },
        schema=dict(PAIRS.schema),
    )
    cut = pl.concat([whole.head(1_000), whole.slice(1_000)], rechunk=False)
    assert cut.n_chunks() == 2
    assert write_parts(tmp_path / "whole", [whole]) == write_parts(tmp_path / "cut", [cut])
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "cut").read_bytes()
    assert pl.concat(read_parts(tmp_path / "cut")).equals(whole)
