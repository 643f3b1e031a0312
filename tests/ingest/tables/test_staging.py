"""What is staged holds no raw line, and no score that Reddit hid."""

import json

from ingest.tables.normalize import RowContext, RowFilters
from ingest.tables.sorted_runs import read_run
from ingest.tables.staging import read_batch, write_batch

CONTEXT = RowContext(RowFilters(), "dump", b"a salt")
COMMENT = {"id": "c1", "link_id": "t3_p1", "parent_id": "t3_p1", "subreddit": "tea", "created_utc": 1_500_000_000}
COMMENT |= {"body": "a body of more than twelve bytes", "score": 1, "retrieved_on": 1_500_000_100}
POST = {"id": "p1", "subreddit": "tea", "title": "a title of more than twelve bytes", "created_utc": 1_500_000_000}


def lines_of(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_no_author_name_reaches_a_disk(tmp_path):
    """Names of more than 12 bytes, which views store in a shared buffer, by every reader's path."""
    names = ["a_name_in_a_shared_buffer", "another_long_name_é", "bodyless_long_name", "name_of_the_poster"]
    rows = [COMMENT | {"author": names[0]}, COMMENT | {"id": 77, "author": names[1]}]
    rows += [COMMENT | {"body": None, "author": names[2]}, POST | {"author": names[3], "selftext": "x" * 40}]
    write_batch(read_batch(lines_of(*rows), CONTEXT), tmp_path, "000000")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"more than twelve bytes" in file.read_bytes() for file in files)
    for file in files:
        for name in names:
            assert name.encode() not in file.read_bytes()
    assert read_run(tmp_path / "000000.comments.arrow")["body"].to_list() == [COMMENT["body"]] * 2


def test_a_hidden_score_is_no_observation():
    batch = read_batch(lines_of(COMMENT | {"score_hidden": True}, COMMENT | {"id": "c2", "score": 5}), CONTEXT)
    assert batch.rows["observations"].select("item_id", "score").rows() == [("c2", 5)]
    assert batch.rows["comments"].height == 2
