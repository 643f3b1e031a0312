"""Names of subreddits are read as people write them."""

import pytest

from lurker.subreddits import plain_name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *((text, "tea") for text in ("tea", "r/tea", "/r/tea", "/r/tea/", "R/tea", " r/tea ", "tea/")),
        *((f"https://{host}reddit.com/r/tea/", "tea") for host in ("", "www.", "old.", "np.")),
        *(("reddit.com/r/tea", "tea"), ("https://www.reddit.com/r/tea/comments/abc/title/?sort=new", "tea")),
        *(("reddit.com", "reddit.com"), ("r/reddit.com", "reddit.com"), ("u_ann", "u_ann"), ("/u/ann", "u_ann")),
    ],
)
def test_a_subreddit_is_named_in_any_usual_form(written, name):
    assert plain_name(written) == name
