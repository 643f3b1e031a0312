"""Generated posts and comment trees in the shapes of Reddit's API."""

import random
from dataclasses import dataclass, field

CREATED_UTC = 1_700_000_000


def base36(number):
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


@dataclass
class Reddit:
    """Subreddits, their posts in listing order, and comments by post; `closed` maps names to how they are refused."""

    posts: dict = field(default_factory=dict)
    comments: dict = field(default_factory=dict)
    listings: dict = field(default_factory=dict)
    closed: dict = field(default_factory=dict)


def little_reddit(subreddits=("college",), n_posts=12, n_comments=20, seed=0):
    """Posts with about `n_comments` comments each, in trees both wide and deep; a post in ten is over 18."""
    rng = random.Random(seed)
    world = Reddit()
    number = 36**5
    for name in subreddits:
        for position in range(n_posts):
            number += 1
            post_id = base36(number)
            comments = {}
            for _ in range(rng.randint(n_comments // 2, n_comments * 3 // 2)):
                number += 1
                parent = rng.choice(list(comments)[-5:]) if comments and rng.random() < 0.7 else None
                comments[base36(number)] = comment(base36(number), post_id, parent, name, number, rng)
            world.posts[post_id] = {
                "id": post_id,
                "name": f"t3_{post_id}",
                "subreddit": name,
                "title": f"Question {position} of {name} <3",
                "selftext": "Ask u/somebody & me, &lt;really&gt;?",
                "author": f"asker{position % 3}",
                "created_utc": float(CREATED_UTC - 60 * position),
                "score": rng.randint(0, 500),
                "upvote_ratio": 0.9,
                "num_comments": len(comments),
                "is_self": True,
                "over_18": position % 10 == 9,
                "edited": False,
                "link_flair_text": None,
                "url": f"https://www.reddit.com/r/{name}/comments/{post_id}/",
                "domain": f"self.{name}",
            }
            world.comments[post_id] = comments
            world.listings.setdefault(name.lower(), []).append(post_id)
    return world


def comments_of(world, subreddit=None):
    """The comments of a Reddit, or of one of its subreddits, by id."""
    wanted = [name for name, post in world.posts.items() if subreddit in (None, post["subreddit"])]
    return {name: one for post in wanted for name, one in world.comments[post].items()}


def comment(name, post_id, parent, subreddit, number, rng):
    return {
        "id": name,
        "name": f"t1_{name}",
        "link_id": f"t3_{post_id}",
        "parent_id": f"t1_{parent}" if parent else f"t3_{post_id}",
        "subreddit": subreddit,
        "body": f"Answer {number} & more",
        "author": f"user{rng.randint(0, 9)}",
        "created_utc": float(CREATED_UTC + number % 10_000),
        "score": rng.randint(-5, 99),
        "score_hidden": False,
        "edited": rng.choice([False, float(CREATED_UTC + 99_999)]),
        "stickied": False,
        "distinguished": None,
        "is_submitter": False,
    }


TWO_SUBREDDITS = little_reddit(("college", "Emory"), n_posts=6, n_comments=16)
