"""Arguments of library functions: what is taken, and what is refused with the value seen."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import lurker
from lurker.arguments import as_list, as_names
from lurker.config import typed_values
from lurker.errors import CallError


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/null/x", "/dev/null/x cannot be a workspace: Not a directory"),
        ("~nosuchuser/x", "Could not determine home directory"),
        ("a\0b", "it contains the character NUL"),
        ("x" * 300, "File name too long"),
        (3, r"takes a path, as text or a Path, got 3 \(int\)"),
        (None, r"got None \(NoneType\)"),
        (b"ws", r"got b'ws' \(bytes\)"),
    ],
)
def test_paths_that_cannot_be_a_workspace(path: Any, words: str) -> None:
    with pytest.raises(CallError, match=words):
        lurker.open(path)


def test_loops_of_links_and_a_damaged_marker(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, words in ((tmp_path / "loop", "a link that leads nowhere"), (tmp_path / "loop/x", "Too many levels")):
        with pytest.raises(CallError, match=words):
            lurker.open(path)
    lurker.open(tmp_path / "ws")
    (tmp_path / "ws/lurker.json").write_text("[]")
    with pytest.raises(lurker.errors.LurkerError, match="should hold a JSON object, not list"):
        lurker.open(tmp_path / "ws")


def test_one_value_is_a_list_of_one() -> None:
    assert as_list("tea", "x") == ["tea"] and as_list(3, "x") == [3] and as_list({"a": 1}, "x") == [{"a": 1}]
    assert as_list(("a", "b"), "x") == ["a", "b"] and as_names(np.array(["a"]), "x") == ["a"]
    with pytest.raises(CallError, match="sizes takes one value or a list, got None"):
        as_list(None, "sizes")


def test_values_of_a_config_have_its_types() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True, kw_only=True)
    class Config:
        count: int = 1
        rate: float | None = None
        names: tuple[str, ...] = ()
        kind: Literal["a", "b"] = "a"
        flag: bool = False

    assert typed_values(Config, {"count": np.int64(3), "rate": 1, "names": "x"}) == {
        "count": 3,
        "rate": 1.0,
        "names": ("x",),
    }
    for values, words in (
        ({"count": True}, r"count takes a whole number, got True \(bool\)"),
        ({"count": 1.0}, "count takes a whole number, got 1.0"),
        ({"rate": "1"}, "rate takes a number, got '1'"),
        ({"names": [1]}, "names takes text, got 1"),
        ({"kind": "c"}, r"kind takes a \| b, got 'c'"),
        ({"flag": 1}, "flag takes bool, got 1"),
        ({"other": 1}, "Unknown field 'other'"),
    ):
        with pytest.raises(CallError, match=words):
            typed_values(Config, values)
