"""Margins of the baselines, fitted once for the same data: runs that share their pairs read what another has fitted.

A baseline is optional: whatever goes wrong in one leaves it out, with a sentence, and never takes a trained model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from lurker.config import fingerprint
from lurker.digest import frame_sha256
from lurker.errors import LurkerError
from lurker.files import write_parquet
from lurker.locks import locked
from lurker.progress import progress, say
from rm.evaluation.baselines import BASELINES, CHEAP, N_FITS, Which, fit_baseline
from rm.evaluation.embeddings import Embedder
from rm.evaluation.metrics import Margins
from rm.models.ladder import LADDER
from rm.training.identity import model_digest
from rm.training.run_folder import RunConfig, RunPairs

SHARED = tuple(N_FITS)
"""Baselines whose margins are worth a file; the others take no time."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """What a run is compared with."""

    margins: dict[str, dict[str, Margins]] = field(default_factory=dict)
    """baseline -> name of the test -> [n_pairs]"""
    left_out: dict[str, str] = field(default_factory=dict)
    """baseline -> why it could not be fitted"""


def wanted_baselines(which: Which, model: str) -> tuple[str, ...]:
    """The names of the baselines of a model; embeddings need a pretrained one."""
    names = {"none": (), "cheap": CHEAP, "all": BASELINES}[which]
    return tuple(name for name in names if name != "embeddings" or model not in LADDER)


def baseline_margins(
    names: Sequence[str], config: RunConfig, pairs: RunPairs, cache: Path, trained_from: str | None
) -> Baselines:
    """Fit baselines on a run's own pairs and predict its tests, or read what another run has fitted on the same data.

    Args:
        names: of BASELINES.
        config: the run.
        pairs: training and validation pairs to fit on, and the tests.
        cache: folder of margins and embeddings, shared by all runs.
        trained_from: digest of the model that the run started from, as its config.json has it.
    """
    found = Baselines()
    digests = _digests(pairs) if set(names) & set(SHARED) else {}
    n_fits = sum(N_FITS.get(name, 0) for name in names)
    with progress("Baselines", n_fits, "fits", is_quiet=not n_fits):
        for name in names:
            try:
                if name == "embeddings" and trained_from != model_digest(config.model):
                    raise LurkerError(f"the weights or the tokenizer of {config.model} have changed since.")
                margins = _shared(name, config, pairs, digests, cache) if name in SHARED else _fit(name, config, pairs)
            except Exception as error:  # noqa: BLE001 - see the module's docstring
                reason = str(error) if isinstance(error, LurkerError) else f"{type(error).__name__}: {error}"
                found.left_out[name] = reason
                say(f"The baseline `{name}` is left out: {reason}")
                continue
            if margins is not None:
                found.margins[name] = margins
    return found


def _shared(
    name: str, config: RunConfig, pairs: RunPairs, digests: dict[str, str], cache: Path
) -> dict[str, Margins] | None:
    """Margins from the files of the same data; the first run that needs them fits, and others wait for it."""
    train = config.train
    of_model = []
    if name == "embeddings":
        reads = (train.max_tokens, train.max_prompt_tokens, train.precision, train.train_layers)
        of_model = [config.model, model_digest(config.model), *reads]
    fitted_on = fingerprint(name, digests["/training"], digests["/validation"], train.adjusted, *of_model)
    files = {test: cache / f"baseline-{fitted_on}-{digests[test][:12]}.parquet" for test in pairs.test}
    with locked(cache / f".baseline-{fitted_on}.lock", waits=True):
        known = {test: _read(file, pairs.test[test].height) for test, file in files.items()}
        if any(margins is None for margins in known.values()):
            embedder = Embedder(config.model, train, cache) if name == "embeddings" else None
            if embedder is not None:
                embedder.prepare([pairs.training, pairs.validation, *pairs.test.values()])
            fitted = _fit(name, config, pairs, embedder)
            if fitted is None:
                return None
            for test, margins in fitted.items():
                write_parquet(pl.DataFrame({"margin": margins}), files[test])
            return fitted
    return {test: margins for test, margins in known.items() if margins is not None}


def _fit(name: str, config: RunConfig, pairs: RunPairs, embedder: Embedder | None = None) -> dict[str, Margins] | None:
    predict = fit_baseline(name, pairs.training, pairs.validation, embedder, is_adjusted=config.train.adjusted)
    return predict and {test: predict(frame) for test, frame in pairs.test.items()}


def _read(file: Path, n_pairs: int) -> Margins | None:
    """The margins of a file, [n_pairs]; None when it is absent or damaged."""
    try:
        margins = pl.read_parquet(file)["margin"].to_numpy()
    except (OSError, pl.exceptions.PolarsError):
        return None
    return margins if margins.shape == (n_pairs,) and np.isfinite(margins).all() else None


def _digests(pairs: RunPairs) -> dict[str, str]:
    """Digest of each test by its name, and of `/training` and `/validation`, which no test can be called."""
    frames = {**pairs.test, "/training": pairs.training, "/validation": pairs.validation}
    return {name: frame_sha256(frame) for name, frame in frames.items()}
