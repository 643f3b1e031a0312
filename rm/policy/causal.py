"""Causal language models as policies: how one is built or loaded, how it reads a prompt, and what it predicts.

A policy reads `start · prompt · separator` and writes `response · end`, the layout of the reward models
(`rm.pairs.tokens`), so that a policy and a reward model from scratch may share a tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lurker.errors import CallError, nearest
from lurker.files import read_json
from lurker.workspace import Workspace
from rm.models.ladder import LADDER, Rung, check_spec, llama_config, require_reachable
from rm.models.layers import classifier_of
from rm.models.loading import explained, is_stored, pretrained_tokenizer
from rm.models.pretrained import PACKAGED, locate
from rm.pairs.tokens import ensure_pad_token, layout, token_ids, train_tokenizer
from rm.policy.policy_folder import CONFIG, POLICIES, RESULT, model_of_policy
from rm.training.run_folder import RUN_PREFIX

N_CAUSAL_PROBE = 4
"""Tokens of the sequences that tell whether a model reads from left to right."""


@dataclass(frozen=True, slots=True)
class CausalModel:
    """A causal language model of transformers, and its tokenizer, which has an end token and pads on the right."""

    model: Any
    tokenizer: Any

    @property
    def n_parameters(self) -> int:
        """Number of parameters without token and position embeddings and without the output layer."""
        outside = [module for module in self.model.modules() if isinstance(module, nn.Embedding)]
        if (head := classifier_of(self.model).get_output_embeddings()) is not None:
            outside.append(head)
        not_counted = {id(weight) for module in outside for weight in module.parameters()}
        return sum(weight.numel() for weight in self.model.parameters() if id(weight) not in not_counted)

    @property
    def n_parameters_total(self) -> int:
        """Number of parameters; weights that input and output share count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def max_positions(self) -> int | None:
        """Tokens that the model reads and writes at most, prompt and response together; None without a limit."""
        n_positions = getattr(classifier_of(self.model).config.get_text_config(), "max_position_embeddings", None)
        return n_positions if isinstance(n_positions, int) and n_positions > 0 else None


def build_causal(
    spec: str,
    texts: Sequence[str],
    vocabulary_size: int,
    seed: int,
    tokenizer: Any = None,
    *,
    can_be_reward_model: bool = False,
) -> CausalModel:
    """Build the language model that a policy starts from.

    Args:
        spec: a name on the ladder, a packaged model, a Hugging Face id or a local folder.
        texts: texts of the training split, which a new tokenizer is trained on (ladder only).
        vocabulary_size: size of that tokenizer.
        seed: of the initial weights (ladder only).
        tokenizer: a trained tokenizer to share, in place of a new one (ladder only).
        can_be_reward_model: take a reward model's layers too; its output layer for words is its token embeddings, and
            has to be trained.

    Raises:
        CallError: the SPEC is neither on the ladder nor loads as a causal language model.
    """
    check_spec(spec)
    if spec in LADDER:
        tokenizer = tokenizer or train_tokenizer(texts, vocabulary_size)
        torch.manual_seed(seed)
        return CausalModel(_from_scratch(LADDER[spec], tokenizer), tokenizer)
    if is_reward_model(spec) and not can_be_reward_model:
        raise _reads_only(spec)
    return _from_pretrained(str(locate(spec)) if spec in PACKAGED else spec, spec)


def is_reward_model(spec: str) -> bool:
    """Whether a SPEC is the folder of a reward model, which has an output layer for a reward and none for words."""
    config = Path(spec) / CONFIG
    return config.exists() and any("ForSequenceClassification" in one for one in read_json(config)["architectures"])


def load_policy(workspace: Workspace, spec: str) -> CausalModel:
    """Load a trained policy, or any pretrained causal language model.

    Args:
        workspace: where policies are.
        spec: policy:ID, a packaged model, a Hugging Face id or a local folder.

    Raises:
        CallError: it is a name on the ladder, which has no weights yet, or it does not load.
    """
    if spec in LADDER:
        raise CallError(
            f"{spec} has random weights and writes noise.",
            f"Train it: `lurker policy train-writer PAIRS --model {spec}`.",
        )
    if spec.startswith(RUN_PREFIX):
        raise _reads_only(spec)
    found = model_of_policy(workspace, spec)
    _require_known(workspace, found)
    return build_causal(found, (), 0, 0)


def _require_known(workspace: Workspace, spec: str) -> None:
    """Refuse a mistyped policy before a hub is asked for it: models of a hub are named with their owner.

    Raises:
        CallError: the SPEC has no slash, and is no folder, packaged model or model in the cache of a hub.
    """
    if not isinstance(spec, str) or not spec.strip() or "/" in spec or spec in PACKAGED or Path(spec).exists():
        return
    if not is_stored(spec):
        existing = nearest(spec, workspace.names(POLICIES, RESULT))
        raise CallError(
            f"{spec!r} is no policy in {workspace.root} (finished policies: {existing}), folder or packaged model.",
            "See `lurker policy list`; a model of a hub is named with its owner, such as openai-community/gpt2.",
        )


def prompt_tokens(model: CausalModel, prompt: str, max_prompt_tokens: int | None) -> list[int]:
    """What a policy reads before it writes: start, the first max_prompt_tokens tokens of the prompt, separator."""
    around = layout(model.tokenizer)
    return [*around.start, *token_ids(model.tokenizer, [prompt])[prompt][:max_prompt_tokens], *around.separator]


def response_tokens(model: CausalModel, response: str, max_tokens: int) -> list[int]:
    """A response as a policy writes it: its first max_tokens - 1 tokens and the end token."""
    return [*token_ids(model.tokenizer, [response])[response][: max_tokens - 1], int(model.tokenizer.eos_token_id)]


def response_text(model: CausalModel, tokens: Sequence[int]) -> str:
    """The text of a written response, without special tokens and the space around it."""
    return str(model.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def sequence_log_probs(model: Any, tokens: Tensor, response_mask: Tensor) -> Tensor:
    """Log-probability of each response token given all before it, with its graph.

    Args:
        model: a causal language model of transformers, or a wrapper that is called as one.
        tokens: [n, length] token ids, padded on the right.
        response_mask: [n, length] true at the tokens of the response, never in the first column.

    Returns:
        Nats, [n, length] float32; 0 outside the response.
    """
    result = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
    columns = response_mask.any(dim=0).nonzero()
    if not columns.numel():
        return result
    first, length = int(columns[0]), tokens.shape[1]
    if first == 0:
        raise ValueError("the first token of a sequence has nothing before it that could predict it")
    # Nothing attends to padding on the right, so no attention mask is needed. The last token predicts nothing.
    logits = model(input_ids=tokens[:, :-1], use_cache=False, **_last_logits(model, length - first)).logits
    mask = response_mask[:, first:]
    predicted = logits[:, -mask.shape[1] :][mask].float()
    nats = -cross_entropy(predicted, tokens[:, first:][mask], reduction="none")
    return result.masked_scatter(response_mask, nats)


def _last_logits(model: Any, n_positions: int) -> dict[str, Any]:
    """The argument with which a model computes the logits of its last positions only, where it knows it."""
    network = classifier_of(getattr(model, "module", model))
    knows = getattr(network, "_supports_logits_to_keep", None)
    return {"logits_to_keep": n_positions} if knows is not None and knows() else {}


def _from_scratch(rung: Rung, tokenizer: Any) -> Any:
    """A Llama with random weights, whose input and output share their embeddings: small models learn faster so."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return LlamaForCausalLM(llama_config(rung, tokenizer, tie_word_embeddings=True))


def _from_pretrained(path: str, spec: str) -> CausalModel:
    """A pretrained language model in float32, and its tokenizer.

    Args:
        path: where it is: a Hugging Face id or a folder.
        spec: what the user named, for errors.

    Raises:
        CallError: it does not load, is no causal language model, or its tokenizer has no end token.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    require_reachable(path, known_policies())
    tokenizer = pretrained_tokenizer(path, known_policies())
    tied = {"tie_word_embeddings": True} if is_reward_model(path) else {}
    with explained(spec, known_policies()):
        model, info = AutoModelForCausalLM.from_pretrained(
            path, trust_remote_code=False, dtype=torch.float32, output_loading_info=True, **tied
        )
    if missing := sorted(info["missing_keys"]):
        raise CallError(f"{spec} is no causal language model: it has no weights for {missing[0]}.", known_policies())
    if tokenizer.eos_token_id is None:
        raise CallError(f"The tokenizer of {spec} has no end token, so that no response could end.", known_policies())
    ensure_pad_token(tokenizer)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    _require_causal(model, spec)
    return CausalModel(model, tokenizer)


@torch.no_grad()
def _require_causal(model: Any, spec: str) -> None:
    """Refuse an encoder, whose first token sees the last.

    Raises:
        CallError: a prediction is no finite number, or a change of the last token changes what is predicted after the
            first.
    """
    model.eval()
    tokens = torch.arange(1, N_CAUSAL_PROBE + 1).repeat(2, 1)
    tokens[1, -1] += 1
    first = model(input_ids=tokens).logits[:, 0]
    if not torch.isfinite(first).all():
        raise CallError(
            f"{spec} predicts nothing: its weights are damaged, or its training diverged.",
            "Train it again with a lower learning rate, or name another model.",
        )
    if not torch.allclose(first[0], first[1], atol=1e-3):
        raise CallError(f"{spec} is an encoder: it reads the words that it should predict.", known_policies())


def _reads_only(spec: str) -> CallError:
    return CallError(
        f"{spec} is a reward model: it has learned to read, and has no words to write.",
        "Train a writer from it: `lurker policy train-writer PAIRS --model run:ID`.",
    )


def known_policies() -> str:
    """What to choose instead of a language model that does not load, as the next step of an error."""
    packaged = [name for name in PACKAGED if not name.startswith("minilm")]
    return (
        f"Choose {', '.join((*LADDER, *packaged))}, a Hugging Face id or a local folder of a causal language model, or "
        "policy:ID (see `lurker policy list`)."
    )
