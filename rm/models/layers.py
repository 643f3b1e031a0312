"""Layers of a transformers model: find them, skip them, or compute them for a few tokens, using hooks alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

TOKEN_WISE = ("mlp", "ffn", "intermediate", "output", "dense")
"""Names of a layer's modules that process each token independently: the feed-forward network and what surrounds it."""
QUERY_SIDE = ("q_proj", "o_proj", "out_proj", "c_proj", "query", "q_lin", "out_lin")
"""Names of attention modules that only tokens which attend need."""
STAYS_SHORT = ("intermediate",)
"""Names of modules whose output keeps the selected tokens only, because `output` consumes it."""


def classifier_of(model: Any) -> Any:
    """The sequence classifier inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone_of(classifier: Any) -> Any:
    """The model below the classifier's head; None if there is none."""
    return getattr(classifier, getattr(classifier, "base_model_prefix", "") or "-", None)


def layers_of(classifier: Any) -> list[Any]:
    """The backbone's layers, first to last; empty if it does not store them as transformers models do."""
    n_layers = getattr(classifier.config, "num_hidden_layers", None)
    backbone = backbone_of(classifier)
    modules = backbone.modules() if isinstance(backbone, nn.Module) else ()
    lists = (module for module in modules if isinstance(module, nn.ModuleList) and len(module) == n_layers)
    return [*next(lists, ())]


@contextmanager
def skip_layers(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within the context, these layers return their input unchanged."""

    def forward(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden

    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def replace_input(layer: nn.Module, replacement: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, the layer reads replacement(input) in place of its input."""
    handle = layer.register_forward_pre_hook(lambda _, args: (replacement(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def selectable_modules(layer: nn.Module) -> dict[str, nn.Module]:
    """The outermost modules of a layer, by name, that can run on selected tokens only (see `compute_only_at`)."""
    selected: dict[str, nn.Module] = {}
    for name, module in layer.named_modules():
        if name.rsplit(".", 1)[-1] in (*TOKEN_WISE, *QUERY_SIDE) and not any(
            name.startswith(f"{outer}.") for outer in selected
        ):
            selected[name] = module
    return selected


@contextmanager
def compute_only_at(modules: dict[str, nn.Module], selected: Tensor, n_tokens: int) -> Iterator[None]:
    """Within the context, these modules compute the selected tokens only and return 0 for the others.

    For the last layer, where only the tokens that carry a reward are used: query and output projection and the
    feed-forward network.

    Args:
        modules: As returned by `selectable_modules`.
        selected: [n_selected] positions in the pack.
        n_tokens: Tokens in the pack.
    """

    def select(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            part.index_select(1, selected) if isinstance(part, Tensor) and part.shape[1] == n_tokens else part
            for part in args
        )

    def scatter(_module: nn.Module, _args: tuple[Any, ...], out: Tensor) -> Tensor:
        return out.new_zeros(1, n_tokens, out.shape[-1]).index_copy(1, selected, out)

    handles = [module.register_forward_pre_hook(select) for module in modules.values()]
    handles += [
        module.register_forward_hook(scatter)
        for name, module in modules.items()
        if name.rsplit(".", 1)[-1] not in STAYS_SHORT
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def split_first_tokens(backbone: nn.Module, first: Tensor) -> Iterator[None]:
    """Within the context, an encoder's output for a pack, [1, T, width], becomes n one-token sequences, [n, 1, width].

    Args:
        backbone: The encoder.
        first: [n] position in the pack of each sequence's first token, which its classifier reads.
    """

    def split(module: Any, _args: Any, out: Any) -> Any:
        out.last_hidden_state = out.last_hidden_state[0, first][:, None]
        pooler = getattr(module, "pooler", None)
        if pooler is not None:
            out.pooler_output = pooler(out.last_hidden_state)
        return out

    handle = backbone.register_forward_hook(split)
    try:
        yield
    finally:
        handle.remove()


def has_fast_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions (AMX or AVX512-BF16); without them bfloat16 is slower than float32."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
