from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from lurker.config import fingerprint, from_toml, override, to_dict
from lurker.errors import CallError


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    gap: int = 1
    ratio: float = 1.5
    is_strict: bool = False
    limit_s: int | None = None
    names: tuple[str, ...] = ()
    order: Literal["delay", "random"] = "delay"

    def __post_init__(self) -> None:
        if self.gap < 0:
            raise ValueError(f"gap is at least 0, got {self.gap}.")


def test_override_parses_each_type() -> None:
    assignments = ["gap=3", "ratio=2", "is_strict=true", "limit_s=60", "names=a, b", "order=random"]
    expected = Example(gap=3, ratio=2.0, is_strict=True, limit_s=60, names=("a", "b"), order="random")
    assert override(Example(), assignments) == expected
    assert override(Example(limit_s=5), ["limit_s=none"]).limit_s is None


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("gap", "field=value"),
        ("gpa=1", "Unknown field 'gpa'"),
        ("gap=x", "gap takes int, got 'x'"),
        ("ratio=inf", "ratio takes a finite number, got inf"),
        ("ratio=nan", "ratio takes a finite number, got nan"),
        ("gap=-1", "gap is at least 0, got -1"),
        ("order=score", "delay | random"),
        ("is_strict=1", "true or false"),
    ],
)
def test_errors_name_the_wrong_value(assignment: str, said: str) -> None:
    with pytest.raises(CallError) as caught:
        override(Example(), [assignment])
    assert said in caught.value.message


def test_toml_and_command_line_agree(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text('gap = 4\nnames = ["a", "b"]\nis_strict = true\norder = "random"\n')
    assert from_toml(Example(), path) == override(Example(), ["gap=4", "names=a,b", "is_strict=true", "order=random"])


def test_a_damaged_toml_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("gap = = 4")
    with pytest.raises(CallError, match=r"bad\.toml is not a TOML file"):
        from_toml(Example(), path)
    with pytest.raises(CallError, match="Cannot read"):
        from_toml(Example(), tmp_path / "absent.toml")


def test_a_fingerprint_depends_on_values_and_not_on_their_order() -> None:
    assert fingerprint(Example()) == fingerprint(to_dict(Example()))
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(Example()) != fingerprint(Example(gap=2))
