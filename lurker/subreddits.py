"""Names of subreddits as people write them."""

import re


def plain_name(subreddit: str) -> str:
    """A subreddit's name from r/name, /r/name/ or an address; names of profiles (u/name) become u_name."""
    host = r"(?i)^(?:https?://)?(?:[a-z-]+\.)*(?:reddit\.com/|redd\.it/)(?=/*(?:r|u|user)/)"
    path = re.sub(host, "/", subreddit.strip())
    match = re.match(r"(?i)^/*(r|u|user)/+([^/?#\s]+)", path)
    if not match:
        return path.strip("/")
    return match[2] if match[1].lower() == "r" else f"u_{match[2]}"
