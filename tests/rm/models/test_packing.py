import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import logsigmoid
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rm.models.layers import has_fast_bfloat16
from rm.models.packing import pack_sequences
from rm.models.scorer import Scorer, training_dtype
from rm.models.shared_attention import (
    GPU_PAD_TOKENS,
    SIZES_PER_DOUBLING,
    RowMask,
    block_mask,
    padded_size,
    prepare_pack,
    use_mask,
)
from rm.pairs.tokens import Sequences
from rm.training.config import TrainConfig
from rm.training.trainable import make_trainable

SIZES = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "pad_token_id": 0}
GATED = {**SIZES, "intermediate_size": 48, "num_labels": 1}


def tiny(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel
    if family == "llama":
        model = LlamaForSequenceClassification(LlamaConfig(**GATED, num_key_value_heads=4))
    elif family == "qwen3":  # grouped heads, norms of queries and keys
        model = Qwen3ForSequenceClassification(Qwen3Config(**GATED, num_key_value_heads=2, head_dim=8))
    elif family == "mistral":
        model = MistralForSequenceClassification(MistralConfig(**GATED, num_key_value_heads=2, sliding_window=16))
    elif family == "bert":
        model = BertForSequenceClassification(BertConfig(**GATED, initializer_range=0.2))
    elif family == "roberta":  # positions start after the padding token's id
        model = RobertaForSequenceClassification(RobertaConfig(**{**GATED, "pad_token_id": 1}, initializer_range=0.2))
    elif family == "distilbert":
        model = DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=300, dim=32, hidden_dim=48, n_layers=3, n_heads=4, num_labels=1)
        )
    elif family == "modernbert":
        model = ModernBertForSequenceClassification(
            ModernBertConfig(**GATED, cls_token_id=1, sep_token_id=2, local_attention=16)
        )
    else:
        model = GPT2ForSequenceClassification(
            GPT2Config(vocab_size=300, n_embd=32, n_layer=3, n_head=4, pad_token_id=0, num_labels=1)
        )
    if hasattr(model, "score"):
        torch.nn.init.normal_(model.score.weight, std=0.3)
    return model.eval()


def some_sequences(seed: int, n_posts: int = 5, n_responses: int = 9) -> Sequences:
    """Posts with up to n_responses responses in random order, some with a cut prompt."""
    rng = np.random.default_rng(seed)
    tokens, prompt, n_prefix = [], [], []
    for post in range(n_posts):
        trunk = rng.integers(1, 300, rng.integers(0, 40))
        for _ in range(rng.integers(1, n_responses + 1)):
            kept = trunk.size if rng.random() < 0.7 else int(rng.integers(0, trunk.size + 1))
            own = rng.integers(1, 300, rng.integers(1, 25))
            tokens.append(np.concatenate([trunk[:kept], own]).astype(np.int32))
            prompt.append(post)
            n_prefix.append(kept)
    order = rng.permutation(len(tokens))
    return Sequences([tokens[number] for number in order], np.array(prompt)[order], np.array(n_prefix)[order])


def loss_and_gradient(scorer: Scorer, sequences: Sequences, tokens_per_batch: int) -> tuple[float, torch.Tensor]:
    scorer.zero_grad()
    rewards = scorer(sequences, tokens_per_batch)
    half = len(sequences) // 2
    loss = -logsigmoid(rewards[:half] - rewards[-half:]).mean()
    loss.backward()
    return float(loss.detach()), torch.cat([parameter.grad.flatten() for parameter in scorer.parameters()])


@pytest.mark.parametrize("tokens_per_batch", [60, 100_000])
@pytest.mark.parametrize("reads_last_only", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "bert", "roberta", "distilbert"])
def test_packed_and_padded_losses_and_gradients_agree(
    family: str, reads_last_only: bool, tokens_per_batch: int
) -> None:
    scorer = Scorer(tiny(family), 1 if family == "roberta" else 0, max_tokens=64)
    assert scorer.is_packed, scorer.reason_not_packed
    assert scorer.is_causal == (family in ("llama", "qwen3", "gpt2"))
    sequences = some_sequences(1)
    scorer.is_packed = False
    loss, gradient = loss_and_gradient(scorer, sequences, 100_000)
    scorer.is_packed, scorer.reads_last_only = True, reads_last_only
    packed_loss, packed_gradient = loss_and_gradient(scorer, sequences, tokens_per_batch)
    assert packed_loss == pytest.approx(loss, abs=1e-5)
    assert float((packed_gradient - gradient).abs().max()) < 1e-5
    assert float(gradient.abs().max()) > 1e-2  # so the comparison is meaningful


def test_gradient_checkpointing_changes_nothing() -> None:
    model = tiny("llama")
    scorer = Scorer(model, 0, max_tokens=64)
    sequences = some_sequences(2)
    loss, gradient = loss_and_gradient(scorer, sequences, 80)
    model.activation_checkpointing_enable()
    model.train()
    assert loss_and_gradient(scorer, sequences, 80)[0] == pytest.approx(loss, abs=1e-6)
    assert float((loss_and_gradient(scorer, sequences, 80)[1] - gradient).abs().max()) < 1e-6


def test_a_post_with_many_responses_is_split_and_scores_the_same() -> None:
    scorer = Scorer(tiny("qwen3"), 0, max_tokens=64)
    sequences = some_sequences(3, n_posts=1, n_responses=400)
    packs = pack_sequences(sequences, 700)
    assert len(packs) > 1 and all(pack.ids.size <= 700 for pack in packs)
    assert max(keys.size for pack in packs for _, keys in pack.rows) < 300
    with torch.no_grad():
        found = scorer(sequences, 700)
        scorer.is_packed = False
        assert float((found - scorer(sequences)).abs().max()) < 1e-5


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), tokens_per_pack=st.integers(1, 400))
def test_a_pack_contains_every_sequence_once_with_its_own_context(seed: int, tokens_per_pack: int) -> None:
    sequences = some_sequences(seed, n_posts=3, n_responses=6)
    packs = pack_sequences(sequences, tokens_per_pack)
    assert sorted(np.concatenate([pack.members for pack in packs])) == list(range(len(sequences)))
    for pack in packs:
        assert sorted(np.concatenate([queries for queries, _ in pack.rows])) == list(range(pack.ids.size))
        for index, member in zip(pack.read, pack.members, strict=True):
            in_trunk = (pack.group == pack.group[index]) & (pack.branch == 0) & (pack.positions < pack.visible[index])
            seen = np.flatnonzero(in_trunk | (pack.branch == pack.branch[index]))
            assert pack.ids[seen].tolist() == sequences.tokens[member].tolist()
            assert pack.positions[seen].tolist() == list(range(seen.size))


def test_prompts_are_computed_once() -> None:
    sequences = some_sequences(4)
    (pack,) = pack_sequences(sequences, 100_000)
    trunks = sum(sequences.n_prefix[sequences.prompt == post].max() for post in range(5))
    assert pack.ids.size == trunks + sequences.n_own.sum() < sequences.n_tokens.sum()


def test_the_mask_depends_on_the_device() -> None:
    (pack,) = pack_sequences(some_sequences(5), 100_000)
    same, rows = prepare_pack(pack, torch.device("cpu"), last_layer=2)
    assert same.ids.size == padded_size(pack.ids.size + same.read.size - pack.read.size)
    assert isinstance(rows, RowMask) and rows.last is not None
    assert isinstance(prepare_pack(pack, torch.device("cpu"), last_layer=None)[1], RowMask)
    assert isinstance(block_mask(pack.padded(512, pack.read.size), torch.device("cpu")), BlockMask)
    if torch.cuda.is_available():
        padded, mask = prepare_pack(pack, torch.device("cuda"), last_layer=2)
        assert isinstance(mask, BlockMask) and padded.ids.size % GPU_PAD_TOKENS == 0


def test_packs_have_few_sizes() -> None:
    sizes = [padded_size(size) for size in range(1, 8193)]
    assert all(size <= filled <= size * 17 / 16 + 1 for size, filled in enumerate(sizes, 1))
    assert len({size for size in sizes if size > 4096}) == SIZES_PER_DOUBLING


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_bfloat16_trains_close_to_float32(family: str) -> None:
    model = tiny(family)
    sequences = some_sequences(1)
    loss, gradient = loss_and_gradient(Scorer(model, 0, 64), sequences, 100_000)
    close, near = loss_and_gradient(Scorer(model, 0, 64, torch.bfloat16), sequences, 100_000)
    assert close != loss
    assert close == pytest.approx(loss, abs=0.02)
    assert float(torch.nn.functional.cosine_similarity(gradient, near, dim=0)) > 0.99


@pytest.mark.parametrize(
    ("precision", "device", "n_parameters", "expected"),
    [
        ("bfloat16", "cpu", 10, torch.bfloat16),
        ("float32", "cpu", 10**9, torch.float32),
        ("auto", "cpu", 10_000, torch.float32),  # a small model is faster without casting
        ("auto", "cpu", 10**8, torch.bfloat16 if has_fast_bfloat16() else torch.float32),
        ("auto", "mps", 10**8, torch.float32),
    ],
)
def test_the_precision_of_training(precision: str, device: str, n_parameters: int, expected: torch.dtype) -> None:
    assert training_dtype(precision, torch.device(device), n_parameters) == expected


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
def test_the_mask_for_flex_attention_gives_the_same_rewards(family: str) -> None:
    scorer = Scorer(tiny(family), 0, max_tokens=64)
    sequences = some_sequences(5, n_posts=3)
    (pack,) = pack_sequences(sequences, 100_000)
    pack = pack.padded(512, pack.read.size)
    mask = block_mask(pack, torch.device("cpu"))
    ids, positions = (torch.from_numpy(array)[None] for array in (pack.ids, pack.positions))
    decoder = getattr(scorer.model, scorer.model.base_model_prefix)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), use_mask(mask):
        hidden = decoder(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state
        found = scorer.model.score(hidden[0, pack.read])[:, 0]
    with torch.no_grad():
        assert float((found - scorer(sequences)[pack.members]).abs().max()) < 1e-5


@pytest.mark.parametrize(("family", "reason"), [("modernbert", "last"), ("mistral", "last 16 tokens")])
def test_a_model_that_cannot_be_packed_gives_a_reason_and_still_scores(family: str, reason: str) -> None:
    scorer = Scorer(tiny(family), 0, max_tokens=64)
    assert not scorer.is_packed and reason in scorer.reason_not_packed
    sequences = some_sequences(6)
    with torch.no_grad():
        alone = [float(scorer(sequences.take(np.array([number])))[0]) for number in range(len(sequences))]
        assert scorer(sequences, 200).tolist() == pytest.approx(alone, abs=1e-5)


def test_an_attention_window_longer_than_every_text_allows_packing() -> None:
    assert Scorer(tiny("mistral"), 0, max_tokens=16).is_packed


def test_a_packed_model_still_accepts_ordinary_calls() -> None:
    model = tiny("llama")
    ids = torch.randint(1, 300, (2, 12))
    before = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    Scorer(model, 0, max_tokens=64)
    assert torch.allclose(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, before, atol=1e-6)


@pytest.mark.slow
def test_compiled_layers_give_the_same_losses_and_gradients() -> None:
    model = tiny("llama")
    scorer = Scorer(model, 0, max_tokens=64)
    sequences = some_sequences(1)
    loss, gradient = loss_and_gradient(scorer, sequences, 100_000)
    make_trainable(model, "tiny", TrainConfig(learning_rate=1e-3, is_compiled=True))
    for tokens_per_batch in (100_000, 80):  # different pack sizes must share one compilation
        compiled_loss, compiled_gradient = loss_and_gradient(scorer, sequences, tokens_per_batch)
        assert compiled_loss == pytest.approx(loss, abs=1e-5)
        assert float((compiled_gradient - gradient).abs().max()) < 1e-4
