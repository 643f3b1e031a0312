"""What a model is beyond its SPEC: a digest of its files, and the posts that it and its ancestors have read."""

import hashlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from lurker.config import fingerprint
from lurker.decimals import counted
from lurker.errors import CallError, LurkerError
from lurker.files import read_json, write_json
from lurker.judgements.read import prompt_key
from lurker.progress import say
from lurker.workspace import open_workspace
from rm.models.ladder import LADDER
from rm.models.loading import hub_fault, needs_hub
from rm.models.pretrained import PACKAGED, locate
from rm.training.run_folder import RunConfig, RunPairs, read_run_pairs, run_config

SEEN = "lurker_posts.json"
"""In a model's folder, kept by exports: hashes of the posts and prompts that trained it or selected its best step, and
the runs it comes from."""
IGNORED = (".md", ".tmp", ".lock")


def model_digest(spec: str) -> str | None:
    """Digest of a model's weights, config and tokenizer; None for the ladder, whose weights follow from the seed.

    For a Hugging Face id it is the commit that loads here, or None where it cannot be found.
    """
    if spec in LADDER:
        return None
    folder = locate(spec) if spec in PACKAGED else Path(spec)
    if folder.is_dir():
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        stats = [(path, path.stat()) for path in files if path.suffix not in IGNORED and path.name != SEEN]
        return _files_digest(tuple((str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in stats))
    from transformers.utils import cached_file

    if needs_hub(spec) and hub_fault(spec):
        return None
    try:
        config = cached_file(spec, "config.json")
    except (OSError, ValueError):
        return None
    return Path(config).parent.name if config else None


def embedding_folder(cache: Path, spec: str, dtype: str, n_frozen: int | None) -> Path:
    """The folder of a model's frozen embeddings, by its content.

    Args:
        cache: where the folder is.
        spec: SPEC.
        dtype: of matrix products.
        n_frozen: layers after which states are rounded to float16.
    """
    return cache / f"embeddings-{fingerprint(spec, model_digest(spec), dtype, n_frozen)}"


@lru_cache(maxsize=64)
def _files_digest(files: tuple[tuple[str, int, int, int], ...]) -> str:
    """Digest of files, read again when their size, time or inode changes."""
    digest = hashlib.sha256()
    for path, size, *_ in files:
        digest.update(f"{Path(path).name} {size}\n".encode())
        with Path(path).open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def write_seen_posts(folder: Path, run_id: str, config: RunConfig, pairs: RunPairs) -> None:
    """Write into a model's folder which posts and prompts trained it and its ancestors, and its lineage."""
    own = {"run": run_id, "pairs": config.pairs}
    write_seen(folder, own, config.model, [pairs.training, pairs.validation])


def write_seen(folder: Path, own: dict[str, str], model: str, frames: Sequence[pl.DataFrame]) -> None:
    """`write_seen_posts` for any training.

    Args:
        folder: of the trained model.
        own: first entry of its lineage, without the model.
        model: SPEC that it started from.
        frames: with post_id and prompt: what trained it or selected its best step.
    """
    content = {
        "posts": sorted(_posts(frames)),
        "ancestors": sorted(seen_posts(model)),
        "prompts": sorted(_prompts(frames) | seen_prompts(model)),
        "ancestor_prompts": sorted(seen_prompts(model)),
        "lineage": [own | {"model": _short_spec(model)}, *lineage(model)],
    }
    write_json(content, folder / SEEN)


def copy_seen_posts(source: Path, target: Path) -> None:
    """Copy the record of seen posts from one model's folder to another; a model of before has none."""
    if (source / SEEN).exists():
        shutil.copyfile(source / SEEN, target / SEEN)


def seen_posts(spec: str) -> set[str]:
    """Hashes of the posts that a model and its ancestors have read; empty for a model that no run made.

    Raises:
        CallError: It is the model of a run whose pairs cannot be read any more.
    """
    folder = Path(spec)
    if spec in LADDER or spec in PACKAGED or not folder.is_dir():
        return set()
    if (folder / SEEN).exists():
        content = read_json(folder / SEEN)
        return {*content["posts"], *content["ancestors"]}
    if not (described := _described(folder)):
        return set()
    pairs = _pairs_of_run(folder, described, spec)
    return _posts([pairs.training, pairs.validation]) | seen_posts(described["model"])


def n_posts_read(spec: str, posts: Collection[str]) -> int:
    """How many of these posts a model and its ancestors have read."""
    seen = seen_posts(spec)
    return sum(_hash(post) in seen for post in posts) if seen else 0


def seen_prompts(spec: str) -> set[str]:
    """Hashes of the prompts that a model and its ancestors have read, by which crossposts and judgements are known.

    Runs of earlier versions kept no prompts: theirs are read from their pairs, if those are as they were.
    """
    folder = Path(spec)
    if spec in LADDER or spec in PACKAGED or not folder.is_dir():
        return set()
    if (folder / SEEN).exists() and "prompts" in (content := read_json(folder / SEEN)):
        return set(content["prompts"])
    if not (described := _described(folder)):
        return set()
    try:
        pairs = _pairs_of_run(folder, described, spec)
        own = _prompts([pairs.training, pairs.validation])
    except CallError:
        own = set()
    return own | seen_prompts(described["model"])


def lineage(spec: str) -> list[dict[str, str]]:
    """The runs that a model comes from, the last one first: run, pairs and model of each; empty if no run made it."""
    folder = Path(spec)
    if spec in LADDER or spec in PACKAGED or not folder.is_dir():
        return []
    if (folder / SEEN).exists() and "lineage" in (content := read_json(folder / SEEN)):
        return list(content["lineage"])
    if not (described := _described(folder)):
        return []
    own = {"run": folder.resolve().parent.name, "pairs": described["pairs"], "model": _short_spec(described["model"])}
    return [own, *lineage(described["model"])]


def origin(spec: str) -> str:
    """SPEC of the model that a run, and the runs before it, started from; the SPEC itself if no run made it."""
    runs = lineage(spec)
    return runs[-1]["model"] if runs else spec


def _described(model: Path) -> dict[str, Any]:
    """The config.json of the run whose model this is; empty if it is no run's."""
    path = model.resolve().parent / "config.json"
    described: dict[str, Any] = read_json(path) if path.exists() else {}
    return described if "data_digest" in described else {}


def _pairs_of_run(model: Path, described: dict[str, Any], spec: str) -> RunPairs:
    """The pairs of the run whose model this is, if they are as they were.

    Raises:
        CallError: They are not.
    """
    try:
        pairs = read_run_pairs(open_workspace(model.resolve().parents[2]), run_config(described))
    except LurkerError as error:
        raise _unknown(spec) from error
    if pairs.digest != described["data_digest"]:
        raise _unknown(spec)
    return pairs


def _posts(frames: Sequence[pl.DataFrame]) -> set[str]:
    return {_hash(post) for frame in frames for post in frame["post_id"].unique()}


def _prompts(frames: Sequence[pl.DataFrame]) -> set[str]:
    return {_hash(prompt_key(prompt)) for frame in frames for prompt in frame["prompt"].unique()}


def _short_spec(spec: str) -> str:
    """A SPEC without the folders of this machine; the model of a run is named by its run."""
    folder = Path(spec)
    if not folder.is_dir():
        return spec
    kind = "policy" if folder.resolve().parents[1].name == "policies" else "run"
    return f"{kind}:{folder.resolve().parent.name}" if _described(folder) else folder.name


def ancestor_posts(model_folder: Path, spec: str) -> set[str]:
    """Hashes of the posts read by the model that a run started from, by the record of the run's own model."""
    if (model_folder / SEEN).exists():
        return set(read_json(model_folder / SEEN)["ancestors"])
    return seen_posts(spec)


def _ancestor_prompts(model_folder: Path, spec: str) -> set[str]:
    """The same of prompts; the record of an earlier version lacks them."""
    content = read_json(model_folder / SEEN) if (model_folder / SEEN).exists() else {}
    return set(content["ancestor_prompts"]) if "ancestor_prompts" in content else seen_prompts(spec)


def is_unseen(model_folder: Path, spec: str, test: pl.DataFrame) -> pl.Series:
    """Whether neither a model nor its ancestors have read the post or the prompt, for each row, [n].

    Args:
        model_folder: Folder of a run's own model.
        spec: SPEC that the run started from.
        test: Columns post_id and prompt.

    Raises:
        CallError: What they have read is not known any more.
    """
    posts = seen_posts(str(model_folder)) | ancestor_posts(model_folder, spec)
    prompts = seen_prompts(str(model_folder))
    rows = test.select("post_id", "prompt").iter_rows()
    return pl.Series([not (_hash(post) in posts or _hash(prompt_key(prompt)) in prompts) for post, prompt in rows])


def unseen_tests(spec: str, tests: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tests of a run that is to start from a model, without the pairs whose prompt that model has read.

    Args:
        spec: SPEC of the model.
        tests: by name, with columns post_id and prompt.

    Raises:
        LurkerError: the model, or one it started from, has read a test post, or the prompts of all pairs of a test.
    """
    posts, prompts = seen_posts(spec), seen_prompts(spec)
    return {name: _without_read(posts, prompts, spec, test, name) for name, test in tests.items()}


def unseen_by_ancestors(model_folder: Path, spec: str, test: pl.DataFrame, name: str) -> pl.DataFrame:
    """The pairs that a finished run may be tested on, without those whose prompt an ancestor has read.

    Args:
        model_folder: folder of the run's own model.
        spec: SPEC that the run started from.
        test: columns post_id and prompt.
        name: what the test is called.

    Raises:
        LurkerError: an ancestor has read a test post, or the prompts of all pairs.
    """
    posts, prompts = ancestor_posts(model_folder, spec), _ancestor_prompts(model_folder, spec)
    return _without_read(posts, prompts, spec, test, name)


def _without_read(posts: set[str], prompts: set[str], spec: str, test: pl.DataFrame, name: str) -> pl.DataFrame:
    if posts and (n_seen := sum(_hash(post) in posts for post in test["post_id"].unique())):
        raise LurkerError(
            f"{n_seen:,} test posts of {name} were read by {spec}, or a model it started from, in an earlier training.",
            "Start from a model that was not trained on them, or test on another pair set.",
        )
    if not prompts:
        return test
    is_read = {prompt: _hash(prompt_key(prompt)) in prompts for prompt in test["prompt"].unique()}
    kept = test.filter(~pl.Series([is_read[prompt] for prompt in test["prompt"]], dtype=pl.Boolean))
    if kept.is_empty() and not test.is_empty():
        raise LurkerError(
            f"The prompts of all test pairs of {name} were read under other ids by {spec}, or a model it started from.",
            "Start from a model that was not trained on them, or test on another pair set.",
        )
    if n_left_out := test.height - kept.height:
        say(
            f"Left out: {counted(n_left_out, 'test pair')} of {name}, as {spec}, or a model it started from, has read "
            "the same prompt under another id."
        )
    return kept


def _unknown(spec: str) -> CallError:
    return CallError(
        f"The posts that {spec} was trained on are not known: the pair sets of its run were removed or rebuilt.",
        "Start from the original model.",
    )


def _hash(post_id: str) -> str:
    return hashlib.blake2b(post_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
