"""Messages about names that do not exist."""

from lurker.errors import LISTED, nearest


def test_of_many_names_a_message_lists_the_most_alike() -> None:
    names = [f"scaling-{number}" for number in range(20)] + ["votes"]
    shown = nearest("vote", names)
    assert shown.startswith("votes, ") and shown.endswith(f" and {21 - LISTED} more")
    assert nearest("x", ["b", "a"]) == "b, a" and nearest("x", []) == "none yet"
