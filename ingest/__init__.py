"""The world -> posts, comments, observations: dump files of Reddit, or a simulated Reddit with a known truth."""
