"""Judgements of other tools: every format reads as the same pairs, and what cannot be used is named."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import polars as pl
import pytest
import zstandard

from lurker.errors import CallError, LurkerError
from lurker.judgements.read import read_judgements
from lurker.schema import PAIRS, check

ROWS = [
    {"prompt": "Tea?", "chosen": "Black.", "rejected": "None", "subset": "drinks"},
    {"prompt": "Home?", "chosen": 'The "long" road,\nthen left.', "rejected": "By rain", "subset": "ways"},
]
CONVINCING = '#id\tlabel\ta1\ta2\n1_2\ta2\tno\tBecause <br/> it is.\n3_4\ta1\tA "quoted word.\tshort\n'


def said(message: str) -> dict[str, str]:
    return {"role": "assistant", "content": message}


def asked(message: str) -> dict[str, str]:
    return {"role": "user", "content": message}


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sides(path: Path) -> list[tuple[str, str, str]]:
    frame = read_judgements(path).frame
    return sorted(frame.select("prompt", "chosen", "rejected").rows())


def test_every_file_format_gives_the_same_pairs(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS)
    frame.write_csv(tmp_path / "a.csv")
    frame.write_csv(tmp_path / "a.tsv", separator="\t")
    frame.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    content = write_jsonl(tmp_path / "a.jsonl", ROWS).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(content))
    read = [read_judgements(path) for path in sorted(tmp_path.glob("a.*"))]
    assert len(read) == 7
    for one in read:
        assert one.frame.equals(read[0].frame) and one.name == "a" and one.dropped == {}
    frame = check(read[0].frame, PAIRS)
    assert set(frame["subreddit"]) == {"drinks", "ways"} and set(frame["recipe"]) == {"external"}
    assert frame["post_id"].n_unique() == 2 and frame.filter(prompt="Tea?")["chosen_chars"].item() == 6


def test_conversations_read_as_their_texts(tmp_path: Path) -> None:
    texts = [("Tea?", "Black.", "None")]
    with_prompt = {"prompt": [asked("Tea?")], "chosen": [said("Black.")], "rejected": [said("None")]}
    without = {"chosen": [asked("Tea?"), said("Black.")], "rejected": [asked("Tea?"), said("None")]}
    for number, row in enumerate((with_prompt, without)):
        assert sides(write_jsonl(tmp_path / f"{number}.jsonl", [row])) == texts
    other = {"chosen": [asked("Tea?"), said("Black.")], "rejected": [asked("Milk?"), said("None")]}
    with pytest.raises(LurkerError, match=r"Row 1 of .* has no prompt"):
        read_judgements(write_jsonl(tmp_path / "other.jsonl", [other]))


def test_shp_rows_keep_their_scores_and_post(tmp_path: Path) -> None:
    rows = [
        {"history": "Tea?", "human_ref_A": "Black.", "human_ref_B": "None", "labels": 1, "score_A": 9, "score_B": 2},
        {"history": "Home?", "human_ref_A": "No", "human_ref_B": "Left.", "labels": 0, "score_A": 3, "score_B": 4},
    ]
    path = write_jsonl(tmp_path / "shp.jsonl", [row | {"post_id": "p1", "domain": "cafe_test"} for row in rows])
    read = read_judgements(path)
    assert sides(path) == [("Home?", "Left.", "No"), ("Tea?", "Black.", "None")] and read.format_name == "SHP"
    assert set(read.frame["post_id"]) == {"p1"} and set(read.frame["subreddit"]) == {"cafe_test"}
    assert sorted(read.frame.select("chosen_score", "rejected_score").rows()) == [(4, 3), (9, 2)]


@pytest.mark.parametrize("ending", ["folder", "tar", "tar.zst"])
def test_ukpconvarg_takes_prompt_and_topic_from_the_files_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"args.{ending}"
    names = ("tea-or-milk-_tea.csv", "tea-or-milk-_milk.csv", "notes.txt")
    if ending == "folder":
        path.mkdir()
        for name in names:
            (path / name).write_text(CONVINCING)
    else:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in names:
                member = tarfile.TarInfo(f"csv/{name}")
                member.size = len(CONVINCING.encode())
                archive.addfile(member, io.BytesIO(CONVINCING.encode()))
        content = packed.getvalue()
        path.write_bytes(content if ending == "tar" else zstandard.ZstdCompressor().compress(content))
    read = read_judgements(path)
    assert set(read.frame["prompt"]) == {"tea or milk: tea", "tea or milk: milk"}
    assert set(read.frame["subreddit"]) == {"tea or milk"} and read.frame.height == read.n_rows == 4
    assert set(read.frame["chosen"]) == {"Because\nit is.", 'A "quoted word.'}


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    one = {"prompt": "Tea?", "chosen": "Black.", "rejected": "None"}
    rows = [
        one,
        one | {"prompt": " tea? "},
        one | {"prompt": "Milk?"},
        {"prompt": "Milk?", "chosen": "None", "rejected": "Black."},
        one | {"rejected": "Black. "},
        one | {"chosen": " "},
    ]
    read = read_judgements(write_jsonl(tmp_path / "a.jsonl", rows))
    assert read.frame.height == 1 and read.n_rows == 6
    counts = {"both sides are equal": 1, "a text is empty": 1, "judged both ways": 2, "repeated": 1}
    assert read.dropped == counts
    with pytest.raises(LurkerError, match=r"None of the 1 judgements .* \(both sides are equal: 1\)"):
        read_judgements(write_jsonl(tmp_path / "b.jsonl", rows[4:5]))
    ties = "#id\tlabel\ta1\ta2\n1_2\ta2\tx\ty\n3_4\ta1\tp\tq\n5_6\tequal\tv\tw\n"
    (tmp_path / "t_s.csv").write_text(ties)
    assert read_judgements(tmp_path / "t_s.csv").dropped == {"no side won": 1}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b" \n", "a.jsonl is empty"),
        ("a.json", b"[]", "holds no rows"),
        ("a.csv", b"prompt,chosen,rejected\n", "holds no rows"),
        ("a.jsonl", b'{"question": "a", "chosen": "b", "rejected": "c"}', "it has 'question', 'chosen', 'rejected'"),
        ("a.jsonl", b'{"prompt": "a", "chosen": "b", "rejected": 3}', "Row 1 of .* no text in 'rejected', but 3"),
        (
            "a.jsonl",
            b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a"}',
            "Row 2 of .*'chosen', but None",
        ),
        ("a.jsonl", b'{"prompt": "a"}\n{', "Row 2 of .* is not JSON"),
        ("a.json", b"[1]", "Row 1 of .* is no JSON object, but int"),
        ("a.csv", b"prompt,chosen,rejected\na,b\n", "Line 2 of .* has 2 fields, its header 3"),
        ("a.csv", b"prompt,\xff\n", "is not UTF-8 text: byte 7"),
        ("a.parquet", b"PAR1 and no more", "is a damaged Parquet file"),
        ("a.tsv", b"#id\tlabel\ta1\ta2\n1\ta1\tx\ty\n2\ta1\tv\tw\n", r"All 2 labels of .* \(label\) name side a1"),
        ("a.tsv", b"#id\tlabel\ta1\ta2\n1\ta3\tx\ty\n", "Row 1 of .* has 'a3' in 'label': a1, a2"),
        ("a.csv", b"history,human_ref_A,human_ref_B,labels\nx,y,z,2\n", "has '2' in 'labels': 1"),
        ("a.tar.zst", zstandard.ZstdCompressor().compress(b"x" * 9000)[:-9], "is a damaged archive: it ends inside"),
        ("a.jsonl.gz", gzip.compress(b"x" * 9000, mtime=0)[:-12], "is a damaged archive"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LurkerError, match=complaint) as raised:
        read_judgements(tmp_path / name)
    assert name in str(raised.value)


def test_a_path_without_files_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CallError, match="holds no file that can be read"):
        read_judgements(tmp_path)
    with pytest.raises(CallError, match=r"Cannot read .*nothing.jsonl"):
        read_judgements(tmp_path / "nothing.jsonl")
