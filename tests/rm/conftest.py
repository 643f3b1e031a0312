"""Small pair sets with a planted taste: words that a community likes or dislikes make the winner."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForSequenceClassification

from lurker.digest import frame_sha256
from lurker.files import read_json, write_json, write_parquet
from lurker.schema import PAIRS, check
from lurker.workspace import Workspace, open_workspace
from rm.models.ladder import RewardModel, build
from rm.pairs.subsets import texts
from rm.pairs.tokenised import TokenisedPairs, tokenise
from rm.pairs.tokens import train_tokenizer

torch.set_num_threads(1)  # tests share the machine, and a plugin may have loaded torch before OMP_NUM_THREADS was set

LIKED = ("amber", "birch", "cedar", "dune", "ember", "fjord")
DISLIKED = ("grit", "husk", "icicle", "jolt", "knot", "lint")
PLAIN = ("the", "road", "was", "long", "and", "we", "went", "home", "after", "rain", "with", "tea")


def planted_pairs(n_posts: int, subreddits: tuple[str, ...] = ("alpha",), seed: int = 0) -> pl.DataFrame:
    """PAIRS of 4 responses a post, in which the response with more liked and fewer disliked words wins."""
    rng = np.random.default_rng(seed)
    rows = []
    for subreddit in subreddits:
        for number in range(n_posts):
            post_id = f"{subreddit}{number}"
            split = ("train", "train", "train", "validation", "test")[number % 5]
            tastes = rng.permutation([-3, -1, 1, 3])
            bodies = [_response(rng, int(taste)) for taste in tastes]
            prompt = " ".join(rng.choice(PLAIN, size=5))
            for left in range(4):
                for right in range(left + 1, 4):
                    better, worse = (left, right) if tastes[left] > tastes[right] else (right, left)
                    rows.append(
                        _row(post_id, subreddit, split, prompt, bodies, better, worse, int(rng.integers(60, 9000)))
                    )
    return check(pl.DataFrame(rows, schema=PAIRS.schema), PAIRS)


def _response(rng: np.random.Generator, taste: int) -> str:
    words = [*rng.choice(LIKED if taste > 0 else DISLIKED, size=abs(taste)), *rng.choice(PLAIN, size=6)]
    return " ".join(rng.permutation(words))


def _row(
    post_id: str, subreddit: str, split: str, prompt: str, bodies: list[str], better: int, worse: int, delay_s: int
) -> dict[str, object]:
    ids = [f"{post_id}r{number}" for number in (better, worse)]
    return {
        "pair_id": "-".join(sorted(ids)),
        "post_id": post_id,
        "subreddit": subreddit,
        "split": split,
        "prompt": prompt,
        "chosen": bodies[better],
        "rejected": bodies[worse],
        "chosen_id": ids[0],
        "rejected_id": ids[1],
        "chosen_score": 10,
        "rejected_score": 2,
        "chosen_delay_s": delay_s,
        "rejected_delay_s": 9060 - delay_s,
        "chosen_chars": len(bodies[better]),
        "rejected_chars": len(bodies[worse]),
        "label_confidence": 0.9,
        "weight": 1.0,
        "recipe": "planted",
    }


def save_pairs(workspace: Workspace, name: str, frame: pl.DataFrame) -> None:
    """Write a pair set as features/ does."""
    folder = workspace.folder("pairs", name)
    write_parquet(frame, folder / "pairs.parquet")
    content = {"recipe": {"name": "planted"}, "n_pairs": frame.height, "pairs_sha256": frame_sha256(frame)}
    write_json(content, folder / "manifest.json")


def change_pairs(workspace: Workspace, name: str, **columns: pl.Expr) -> None:
    """Write a pair set again with these columns replaced, its manifest with it, as a second build would."""
    folder = workspace.folder("pairs", name)
    frame = pl.read_parquet(folder / "pairs.parquet").with_columns(**columns)
    write_parquet(frame, folder / "pairs.parquet")
    write_json(read_json(folder / "manifest.json") | {"pairs_sha256": frame_sha256(frame)}, folder / "manifest.json")


Prepared = tuple[RewardModel, dict[str, TokenisedPairs]]


def build_and_tokenise(frame: pl.DataFrame, spec: str) -> Prepared:
    """An untrained model and its tokenised pairs by split."""
    splits = {split: frame.filter(pl.col("split") == split) for split in ("train", "validation", "test")}
    model = build(spec, texts(splits["train"]), 400, seed=0)
    return model, {split: tokenise(part, model.tokenizer, max_tokens=64) for split, part in splits.items()}


@pytest.fixture(scope="session")
def planted() -> Callable[..., pl.DataFrame]:
    """Makes PAIRS with a planted taste."""
    return planted_pairs


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the pair set `planted` of two communities and their `hard-test`."""
    return planted_workspace(tmp_path / "workspace")


def planted_workspace(root: Path) -> Workspace:
    """A new workspace with the pair set `planted` of two communities and their `hard-test`."""
    opened = open_workspace(root, create=True)
    frame = planted_pairs(60, ("alpha", "beta"))
    save_pairs(opened, "planted", frame)
    save_pairs(opened, "hard-test", frame.filter(pl.col("split") == "test"))
    return opened


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small "pretrained" decoder that knows the words of the planted pairs; read-only."""
    folder = tmp_path_factory.mktemp("pretrained") / "small"
    frame = planted_pairs(60)
    tokenizer = train_tokenizer(texts(frame), 400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_encoder(folder: Path, n_layers: int) -> str:
    """A small "pretrained" encoder without a head that knows the words of the planted pairs; its folder."""
    tokenizer = train_tokenizer(texts(planted_pairs(60)), 400)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": n_layers, "num_attention_heads": 4}
    config = BertConfig(**sizes, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, initializer_range=0.2)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
