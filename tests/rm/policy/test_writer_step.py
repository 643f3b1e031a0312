"""The loss of a writer: the same in packs and in padded batches, whole or in parts, with and without prompts."""

import numpy as np
import polars as pl
import pytest
import torch

from rm.pairs.tokens import layout
from rm.policy.causal import CausalModel, build_causal, sequence_log_probs
from rm.policy.held_out import held_out_losses, loss_rows
from rm.policy.writer_config import writer_config
from rm.policy.writer_data import writer_sequences
from rm.policy.writer_step import CORRECT, PROMPT, RESPONSE, TokenLoss, WriterStep

CONFIG = writer_config("scratch-10k", 0, ["vocabulary_size=400", "responses_per_step=4", "max_prompt_tokens=12"])
PROMPTS = ["the road was long and we went home after the rain", "tea with rain", "we went"]
FRAME = pl.DataFrame(
    {
        "post_id": ["a", "a", "a", "b", "c", "c", "a"],
        "prompt": [PROMPTS[number] for number in (0, 0, 0, 1, 2, 2, 0)],
        "response": ["long", "home we went", "", "rain and tea after the road", "the", "was it", "tea " * 9],
    }
)


@pytest.fixture(scope="module")
def small() -> CausalModel:
    return build_causal("scratch-10k", [*PROMPTS, *FRAME["response"]] * 2, 400, seed=0)


def network(model: CausalModel, *, is_packed: bool = True, learns_prompt: bool = True) -> TokenLoss:
    made = TokenLoss(model.model, model.tokenizer.pad_token_id, len(layout(model.tokenizer).separator))
    assert made.is_packed, made.reason_not_packed
    made.is_packed, made.learns_prompt = is_packed, learns_prompt
    return made


def test_sums_are_those_of_each_sequence_alone(small: CausalModel) -> None:
    sequences = writer_sequences(FRAME, small.tokenizer, CONFIG)
    expected = []
    for tokens, n_prefix in zip(sequences.tokens, sequences.n_prefix, strict=True):
        ids = torch.tensor(tokens.astype(np.int64))[None]
        position = torch.arange(tokens.size)[None]
        masks = ((position > 0) & (position < int(n_prefix)), position > int(n_prefix))
        expected.append([float(sequence_log_probs(small.model, ids, mask).detach().sum()) for mask in masks])
    for is_packed in (True, False):
        for tokens_per_batch in (10_000, 30):
            found = network(small, is_packed=is_packed)(sequences, tokens_per_batch).detach()
            assert found[:, [PROMPT, RESPONSE]].numpy() == pytest.approx(np.array(expected), abs=1e-4)
            without = network(small, is_packed=is_packed, learns_prompt=False)(sequences, tokens_per_batch).detach()
            assert not without[:, PROMPT].any()
            assert torch.equal(without[:, CORRECT], found[:, CORRECT])


@pytest.mark.parametrize("learns_prompt", [False, True])
def test_the_parts_of_a_step_add_up_to_its_loss(small: CausalModel, learns_prompt: bool) -> None:
    config = writer_config("scratch-10k", 0, ["max_prompt_tokens=12", f"learns_prompt={str(learns_prompt).lower()}"])
    sequences = writer_sequences(FRAME, small.tokenizer, config)
    own = network(small, learns_prompt=learns_prompt)
    step = WriterStep(own, sequences, sequences, config, FRAME["post_id"].to_list())
    whole = np.arange(len(sequences))
    loss, n_tokens = step.loss(own, whole, whole)
    parts = [step.loss(own, part, whole) for part in np.array_split(whole, 3)]
    assert float(loss.detach()) == pytest.approx(sum(float(part.detach()) for part, _ in parts), abs=1e-5)
    assert n_tokens == sum(n for _, n in parts)
    if learns_prompt:
        return
    nats, n_targets = held_out_losses(own, FRAME, small.tokenizer, config)
    assert float(loss.detach()) == pytest.approx(nats.sum() / n_targets.sum(), abs=1e-5)
    assert step.validate()[0] == pytest.approx(float(loss.detach()), abs=1e-5)


def test_an_epoch_reads_every_response_once_and_keeps_posts_together(small: CausalModel) -> None:
    sequences = writer_sequences(FRAME, small.tokenizer, CONFIG)
    step = WriterStep(network(small), sequences, sequences, CONFIG, FRAME["post_id"].to_list())
    for epoch in range(3):
        steps = step.epoch_steps(epoch)
        assert sorted(np.concatenate(steps).tolist()) == list(range(7))
        assert max(one.size for one in steps) <= 4
        assert sum(any(n in one for n in (0, 1, 2, 6)) for one in steps) == 1  # the four responses to one post
    assert [one.tolist() for one in step.epoch_steps(0)] != [one.tolist() for one in step.epoch_steps(1)]


def test_the_unigram_model_knows_frequencies_alone(small: CausalModel) -> None:
    learned = pl.DataFrame({"prompt": ["x"] * 3, "response": ["rain"] * 3, "post_id": ["a", "b", "c"]})
    n_own = len(small.tokenizer("rain", add_special_tokens=False)["input_ids"]) + 1
    nats, n_tokens = held_out_losses(None, learned, small.tokenizer, CONFIG, learned)
    probability = (3 + 1) / (3 * n_own + len(small.tokenizer))
    assert nats.tolist() == pytest.approx([-n_own * np.log(probability)] * 3)
    rows = loss_rows({"unigram": (nats, n_tokens)}, learned)
    assert [row["unit"] for row in rows] == ["token", "word", "byte"]
    assert rows[0]["perplexity"] == pytest.approx(1 / probability)
    assert rows[2]["nats"] == pytest.approx(-n_own * np.log(probability) / 4)
