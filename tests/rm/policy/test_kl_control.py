"""Divergences against all sequences of a vocabulary of five words, and the controller of their weight."""

import itertools

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rm.policy.generate import generate
from rm.policy.kl_control import KlEstimator, KlWeight, token_terms
from rm.policy.response_logits import ResponseLogits, read_sequences

PAD, END, LENGTH = 0, 1, 3
PROMPT = [2, 3]


def small_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=5, pad_token_id=PAD, eos_token_id=END, **shape)).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
        model.lm_head.weight[PAD] = 0
    return model


def all_responses() -> list[list[int]]:
    """Every response of at most LENGTH tokens, with its end token if it has one."""
    others = [PAD, 2, 3, 4]
    ended = [[*words, END] for length in range(LENGTH) for words in itertools.product(others, repeat=length)]
    return ended + [list(words) for words in itertools.product(others, repeat=LENGTH)]


@torch.no_grad()
def response_log_probs(model: LlamaForCausalLM, responses: list[list[int]]) -> torch.Tensor:
    """Log-probability of each response, one at a time: nothing is padded."""
    sums = []
    for response in responses:
        logits = model(input_ids=torch.tensor([[*PROMPT, *response]])).logits[0, len(PROMPT) - 1 : -1]
        sums.append(logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).sum())
    return torch.stack(sums).double()


@pytest.mark.parametrize("estimator", ["exact", "k3"])
def test_token_divergences_add_up_to_that_of_whole_responses(estimator: KlEstimator) -> None:
    policy, writer = small_model(0), small_model(1)
    log_p, log_q = (response_log_probs(model, all_responses()) for model in (policy, writer))
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-5)
    known = float((log_p.exp() * (log_p - log_q)).sum())
    drawn = generate(policy, [PROMPT], 20_000, LENGTH, END, PAD, generator=torch.Generator().manual_seed(0))
    tokens = [row[mask].tolist() for row, mask in zip(drawn.tokens, drawn.mask, strict=True)]
    assert 0.1 < float((drawn.n_tokens < LENGTH).float().mean()) < 0.9  # padding would show
    sequences = read_sequences([PROMPT] * len(tokens), tokens)
    per_response = torch.zeros(len(tokens), dtype=torch.float64)
    with torch.no_grad():
        networks = [ResponseLogits(model, is_packed=False) for model in (policy, writer)]
        for batch in networks[0].batches(sequences, PAD, 8192):
            (own,), (other,) = (network([batch]) for network in networks)
            terms = token_terms(own, other, batch.targets, estimator)
            per_response.index_add_(0, batch.response, terms.kl.double())
    error = float(per_response.std()) / len(tokens) ** 0.5
    assert known > 0.3 and error < 0.05 * known
    assert float(per_response.mean()) == pytest.approx(known, abs=4 * error)


def test_the_weight_follows_its_target_and_is_kept_in_a_state_dict() -> None:
    weight = KlWeight(0.02, 6.0, 0.1)
    for kl, expected in ((12.0, 0.02 * 1.02), (3.0, 0.02 * 1.02 * 0.98), (6.3, 0.02 * 1.02 * 0.98 * 1.005)):
        weight.update(kl)
        assert weight.value == pytest.approx(expected)
    restored = KlWeight(1.0, 6.0, 0.1)
    restored.load_state_dict(weight.state_dict())
    assert restored.value == weight.value
    fixed = KlWeight(0.02, None, 0.1)
    fixed.update(1000.0)
    assert fixed.value == 0.02
