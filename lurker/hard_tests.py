"""Which hard test a pair set was built with: figures of two sets compare only when it is one and the same."""

from collections.abc import Sequence

from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, read_manifest
from lurker.workspace import Workspace


def require_one_hard_test(workspace: Workspace, names: Sequence[str]) -> None:
    """Refuse pair sets whose manifests name another hard test of a subreddit than the frozen one.

    Errors: LurkerError that names the set, the subreddit and both hashes, or says that there is no hard test.
    """
    frozen = read_manifest(workspace, HARD_TEST).get("hard_test", {})
    for name in names:
        manifest = read_manifest(workspace, name)
        for subreddit, digest in manifest.get("hard_test", {}).items():
            if digest != (now := frozen.get(subreddit)):
                raise LurkerError(
                    f"{name} was built with another hard test of r/{subreddit} ({digest[:12]}) than the frozen one "
                    f"({now[:12] if now else 'none'}).",
                    f"Build it again: `lurker pairs build {name} --recipe {manifest['recipe']['name']}`.",
                )
