"""The command line that makes an experiment, from its manifest."""

import shlex
from collections.abc import Callable, Iterable
from typing import Any

from rm.experiments.stored import Stored

Config = dict[str, Any]


def command(stored: Stored) -> str:
    """The `lurker experiment` call whose finished cells the experiment consists of; empty without a table."""
    if not stored.manifest:
        return ""
    words = _CALLS[stored.kind](stored.manifest)
    kind = "transfer" if stored.kind == "few-shot" else stored.kind
    return shlex.join(["lurker", "experiment", kind, *words, "--name", stored.name])


def _scaling(manifest: Config) -> list[str]:
    config = manifest["config"]
    grid = ["--models", _joined(config["models"]), "--sizes", _joined(config["sizes"])]
    protocol = config.get("protocol", "retrain")
    grid += ["--protocol", protocol] if protocol != "retrain" else []
    return [config["pairs"], *grid, *_common(config)]


def _transfer(manifest: Config) -> list[str]:
    config = manifest["config"]
    limit = [] if config["max_pairs"] is None else ["--max-pairs", str(config["max_pairs"])]
    limit += [] if config["is_equal"] else ["--unequal"]
    limit += ["--min-pairs", str(config["min_pairs"]), "--effect", str(config["effect"])]
    return [config["pairs"], "--model", config["model"], "--design", config["design"], *limit, *_common(config)]


def _few_shot(manifest: Config) -> list[str]:
    config = manifest["config"]
    words = [config["pairs"], "--design", "few-shot", "--model", config["model"], "--target", config["target"]]
    words += ["--sizes", _joined(config["sizes"]), "--effect", str(config["effect"])]
    words += [word for start in config["starts"] for word in ("--start", start)]
    words += ["--source-sizes", _joined(config["source_sizes"])] if config["source_sizes"] else []
    return [*words, *_common(config)]


def _recipes(manifest: Config) -> list[str]:
    config = manifest["config"]
    sizes = _joined("all" if size is None else size for size in config["sizes"])
    words = [*config["pairs"], "--models", _joined(config["models"]), "--sizes", sizes]
    words += ["--seeds", str(config["n_seeds"])]
    words += [word for test in config["tests"] for word in ("--test", test)]
    words += ["--gaps", _joined(config["min_gaps"])]
    words += ["--reference", config["reference"]] if config["reference"] else []
    return [*words, *_settings(config)]


def _search(manifest: Config) -> list[str]:
    config = manifest["config"]
    stages = [word for stage in config["stages"] for word in ("--try", stage)]
    return [config["pairs"], "--model", config["model"], *stages, "--seed", str(config["seed"]), *_settings(config)]


def _ceiling(manifest: Config) -> list[str]:
    return [manifest["pairs"], "--split", manifest["split"]]


_CALLS: dict[str, Callable[[Config], list[str]]] = {
    "scaling": _scaling,
    "transfer": _transfer,
    "few-shot": _few_shot,
    "recipes": _recipes,
    "search": _search,
    "ceiling": _ceiling,
}


def _common(config: Config) -> list[str]:
    """The options that scaling and transfer share."""
    words = ["--seeds", str(config["n_seeds"])]
    words += ["--test", config["test_pairs"]] if config["test_pairs"] else []
    words += [word for name in config["subreddits"] for word in ("--subreddit", name)]
    return [*words, *_settings(config)]


def _settings(config: Config) -> list[str]:
    return [word for setting in config["settings"] for word in ("--set", setting)]


def _joined(values: Iterable[Any]) -> str:
    return ",".join(map(str, values))
