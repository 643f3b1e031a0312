"""Check that pair sets were built with the same hard test, without which their figures do not compare."""

from collections.abc import Sequence

from lurker.errors import LurkerError
from lurker.pair_sets import HARD_TEST, build_command, read_manifest
from lurker.workspace import Workspace


def require_one_hard_test(workspace: Workspace, names: Sequence[str]) -> None:
    """Refuse pair sets that were built with another hard test of a subreddit than the frozen one.

    Raises:
        CallError: there is no hard test.
        LurkerError: the message names the set, the subreddit and both digests.
    """
    frozen = read_manifest(workspace, HARD_TEST).get("hard_test", {})
    for name in names:
        manifest = read_manifest(workspace, name)
        for subreddit, digest in manifest.get("hard_test", {}).items():
            if digest != (frozen_digest := frozen.get(subreddit)):
                raise LurkerError(
                    f"{name} was built with another hard test of r/{subreddit} ({digest[:12]}) than the frozen one "
                    f"({frozen_digest[:12] if frozen_digest else 'none'}).",
                    f"Build it again: `{build_command(name, manifest)}`.",
                )
