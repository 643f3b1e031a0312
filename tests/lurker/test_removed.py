"""What Reddit shows instead of a deleted or removed text is recognised in any wording, and people's texts are not."""

import polars as pl
import pytest

from features.text.clean import clean_text
from lurker.authors import hash_authors
from lurker.removed import is_removed


@pytest.mark.parametrize(
    "text",
    [
        *("[deleted]", "[Deleted]", " [REMOVED]\n", "[deleted by user]", "[ Removed by Reddit ]"),
        *("[removed by moderator]", "[ Removed by reddit in response to a copyright notice. ]"),
        "[ Removed by reddit on account of violating the content policy ]",
        "[ Removed by reddit on account of violating the [content policy](/help/contentpolicy). ]",
        *("**[deleted]**", "\\[removed\\]", "[removed](https://x.org/a)", "[comment removed by moderator]"),
        *("[This post has been removed by a moderator.]", "[unavailable]", "\u200b[removed]", "[Removed]."),
    ],
)
def test_texts_that_reddit_shows_instead(text):
    row = pl.DataFrame({"text": [text]}).select(removed=is_removed(pl.col("text")), clean=clean_text(pl.col("text")))
    assert row.row(0) == (True, "")


@pytest.mark.parametrize(
    "text",
    [
        *("[Deleted scene](https://example.org)", "[deleted] said that", "I saw [removed]", "deleted", "[removal]"),
        *("[removed] no it is not", "[1] deleted", "", None),
    ],
)
def test_texts_of_people(text):
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    assert frame.select(is_removed(pl.col("text"))).item() is False


def test_a_name_in_brackets_is_no_author():
    hashes = hash_authors(pl.Series(["[deleted]", "[Deleted]", " [removed] ", "[unavailable]", "", None, "ann"]), b"k")
    assert hashes.is_null().to_list() == [True] * 6 + [False]
