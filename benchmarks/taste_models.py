"""The candidates of `taste_search.py`: TF-IDF, and regressions and networks on frozen embeddings, and sums of them."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import diags
from torch import nn

from lurker.decimals import decimal
from lurker.pairwise import EMBEDDING_PENALTIES, PENALTIES, best_scale, fit_chosen, tfidf_vectors
from lurker.stats import accuracy_interval
from rm.evaluation.embeddings import Embedder, to_unit_square
from rm.evaluation.metrics import Margins, is_correct
from rm.models.embedding_cache import Vectors
from rm.pairs.tokens import Indices
from rm.training.trainable import train_config

SURE = 0.8
"""label_confidence from which a pair is kept when others are filtered out."""
LABELS = ("all", "weighed", "sure", "soft")
"""Uses of label_confidence: none; weights 2c − 1; only pairs of at least SURE; targets of a probability."""
SEEDS = range(3)
"""Networks whose log-odds are averaged."""
HIDDEN, DROPOUT, RATE, DECAY, BATCH, EPOCHS, PATIENCE = 64, 0.2, 1e-3, 0.1, 128, 30, 4
"""Of a network: hidden width, dropout, AdamW's rate and weight decay, pairs of a step, epochs, and how many of them
without a lower validation loss end the training."""
Predictor = Callable[[str], Margins]
"""Name of a frame -> log-odds of its pairs, [n_pairs]."""
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One predictor; a sum is a tuple of several."""

    features: str
    """TF-IDF, regression or network"""
    pairs: str
    """own or all"""
    labels: str = "all"
    """one of LABELS"""
    text: str = ""
    """tokens that embeddings read: of the response, or PROMPT+RESPONSE"""
    seeds: tuple[int, ...] = ()
    """of networks"""

    def __str__(self) -> str:
        parts = [self.features, self.text and f"{self.text} tokens", f"{self.pairs} pairs"]
        parts += ["" if self.labels == "all" else self.labels, f"seed {self.seeds[0]}" if len(self.seeds) == 1 else ""]
        return ", ".join(part for part in parts if part)


Sum = tuple[Candidate, ...]
OWN_TFIDF = Candidate(features="TF-IDF", pairs="own")


@dataclass(slots=True)
class Search:
    """The pairs of a search, and what has been embedded, fitted and scored so far."""

    frames: dict[str, pl.DataFrame]
    """PAIRS by name: "own" and "all" to train on, "validation", and tests"""
    embedder: Callable[[str], Embedder]
    """text of a candidate -> its embedder"""
    embedded: dict[tuple[str, str], tuple[Vectors, Indices, Indices]] = field(default_factory=dict)
    """by text and frame: embeddings [n, width], and the rows of each pair's chosen and rejected"""
    vectors: dict[str, Callable[[list[str]], Any]] = field(default_factory=dict)
    """TF-IDF by training pairs"""
    fitted: dict[Candidate, Predictor] = field(default_factory=dict)
    losses: dict[Sum, float] = field(default_factory=dict)
    """log loss on validation"""
    rows: list[Row] = field(default_factory=list)
    """what is printed of every candidate"""

    def margins(self, members: Sum, name: str) -> Margins:
        """Log-odds of the pairs of a frame by a sum, [n_pairs]; what is not yet fitted is."""
        for member in members:
            if member not in self.fitted:
                self.fitted[member] = self._fit(member)
        return np.asarray(np.sum([self.fitted[member](name) for member in members], axis=0))

    def best(self, sums: Iterable[Sum]) -> Sum:
        """The one with the lowest log loss on validation; all of them are fitted."""
        return min(sums, key=self.loss)

    def loss(self, members: Sum) -> float:
        """Log loss on validation; the first call adds a row."""
        if members not in self.losses:
            margins = self.margins(members, "validation")
            self.losses[members] = log_loss(margins)
            self.rows.append(scored(named(members), margins, self.frames["validation"]))
        return self.losses[members]

    def responses(self, text: str, name: str) -> tuple[Vectors, Indices, Indices]:
        """What `Embedder.responses` says of a frame; found once."""
        if (text, name) not in self.embedded:
            self.embedded[text, name] = self.embedder(text).responses(self.frames[name])
        return self.embedded[text, name]

    def differences(self, member: Candidate, name: str) -> Any:
        """Vectors of chosen minus rejected of a frame's pairs, [n_pairs, width], sparse or dense."""
        if member.features == "regression":
            rows, chosen, rejected = self.responses(member.text, name)
            scaled = to_unit_square(rows.astype(np.float64))
            return scaled[chosen] - scaled[rejected]
        if member.pairs not in self.vectors:
            found = tfidf_vectors(self.frames[member.pairs])
            if found is None:
                sys.exit("No word occurs twice in the training pairs: build a larger set with `lurker pairs build`.")
            self.vectors[member.pairs] = found
        sides = (self.vectors[member.pairs](self.frames[name][side].to_list()) for side in ("chosen", "rejected"))
        return next(sides) - next(sides)

    def _fit(self, member: Candidate) -> Predictor:
        if member.features != "network":
            return fit_regression(self, member)
        if len(member.seeds) == 1:
            return fit_network(self, member)
        networks = [(replace(member, seeds=(seed,)),) for seed in member.seeds]
        return lambda name: np.asarray(np.mean([self.margins(network, name) for network in networks], axis=0))


def embedder_of(model: str, folder: Path, text: str) -> Embedder:
    """What embeds responses of a model, cached in a folder; text: of a candidate."""
    prompt, _, response = text.rpartition("+")
    n_prompt = int(prompt or 0)
    sizes = [f"max_tokens={n_prompt + int(response)}", f"max_prompt_tokens={n_prompt}"]
    return Embedder(model, train_config(model, 0, [*sizes, "trained=head"]), folder)


def label_use(frame: pl.DataFrame, labels: str) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows of the pairs that are trained on, their weights, and the probability that the chosen response wins."""
    confidence, weight = frame["label_confidence"].to_numpy(), frame["weight"].to_numpy()
    rows = np.flatnonzero(confidence >= SURE) if labels == "sure" else np.arange(frame.height)
    if labels == "weighed":
        weight = weight * np.clip(2 * confidence - 1, 0, 1)
    return rows, weight[rows], confidence[rows] if labels == "soft" else np.ones(rows.size)


def fit_regression(search: Search, member: Candidate) -> Predictor:
    """A logistic regression on vectors of chosen minus rejected, with the penalty that validation selects."""
    rows, weight, target = label_use(search.frames[member.pairs], member.labels)
    known = search.differences(member, member.pairs)[rows]
    if member.labels == "soft":  # each pair both ways, by how probable each is
        known = diags(np.repeat([1.0, -1.0], rows.size)) @ known[np.tile(np.arange(rows.size), 2)]
        weight = np.concatenate([weight * target, weight * (1 - target)])
    penalties = PENALTIES if member.features == "TF-IDF" else EMBEDDING_PENALTIES
    coefficients = fit_chosen(known, search.differences(member, "validation"), weight, penalties)
    return lambda name: np.asarray(search.differences(member, name) @ coefficients)


def fit_network(search: Search, member: Candidate) -> Predictor:
    """A network with one hidden layer on embeddings, of the epoch with the lowest log loss on validation."""

    def sides(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        rows, chosen, rejected = search.responses(member.text, name)
        states = torch.from_numpy(to_unit_square(rows.astype(np.float32)))
        return states[chosen], states[rejected]

    def margins(pairs: tuple[torch.Tensor, torch.Tensor]) -> Margins:
        network.eval()
        with torch.no_grad():
            found: Margins = (network(pairs[0]) - network(pairs[1]))[:, 0].double().numpy()
        return found

    rows, weights, targets = label_use(search.frames[member.pairs], member.labels)
    chosen, rejected = (states[rows] for states in sides(member.pairs))
    held_out = sides("validation")
    weight = torch.from_numpy((weights / weights.mean()).astype(np.float32))
    target = torch.from_numpy(targets.astype(np.float32))
    torch.manual_seed(member.seeds[0])  # after the embedder is loaded, which draws
    layers = [nn.Dropout(DROPOUT), nn.Linear(chosen.shape[1], HIDDEN), nn.GELU(), nn.Dropout(DROPOUT)]
    network = nn.Sequential(*layers, nn.Linear(HIDDEN, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    lowest, scale, state, n_worse = np.inf, 1.0, network.state_dict(), 0
    for _ in range(EPOCHS):
        network.train()
        for batch in torch.randperm(rows.size).split(BATCH):
            margin = (network(chosen[batch]) - network(rejected[batch]))[:, 0]
            wins, loses = nn.functional.logsigmoid(margin), nn.functional.logsigmoid(-margin)
            loss = -(weight[batch] * (target[batch] * wins + (1 - target[batch]) * loses)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found = margins(held_out)
        n_worse += 1
        if log_loss(found) < lowest:
            lowest, scale, n_worse = log_loss(found), best_scale(found) or 1.0, 0
            state = {name: value.clone() for name, value in network.state_dict().items()}
        elif n_worse == PATIENCE:
            break
    network.load_state_dict(state)
    return lambda name: scale * margins(sides(name))


def log_loss(margins: Margins) -> float:
    """Log loss of these margins of chosen over rejected at their best scale; ln 2 is chance."""
    return float(np.logaddexp(0, -best_scale(margins) * margins).mean())


def named(members: Sum) -> str:
    """A sum in words."""
    return " + ".join(map(str, members))


def scored(name: str, margins: Margins, frame: pl.DataFrame) -> Row:
    """Accuracy and log loss of margins."""
    found = accuracy_interval(is_correct(margins), frame["post_id"].to_numpy())
    return {"candidate": name, "accuracy": str(found), "log loss": decimal(log_loss(margins), 4)}
