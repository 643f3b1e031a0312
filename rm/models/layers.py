"""The layers of a model of transformers: found, left out, or computed for a few tokens only, through hooks alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

TOKEN_WISE = ("mlp", "ffn", "intermediate", "output", "dense")
"""Names of a layer's modules that work token by token: feed-forward and what stands around it."""
QUERY_SIDE = ("q_proj", "o_proj", "out_proj", "c_proj", "query", "q_lin", "out_lin")
"""Names of attention's modules that only a token that asks needs."""
KEPT_SHORT = ("intermediate",)
"""Names whose result goes on for the read tokens only, because `output` takes it up."""


def classifier_of(model: Any) -> Any:
    """The sequence classifier inside an adapter of PEFT, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def backbone_of(classifier: Any) -> Any:
    """The model below the classifier's head; None when it has none."""
    return getattr(classifier, getattr(classifier, "base_model_prefix", "") or "-", None)


def layers_of(classifier: Any) -> list[Any]:
    """The layers of the backbone, first to last; empty when it holds them in another way than transformers' models."""
    n_layers = getattr(classifier.config, "num_hidden_layers", None)
    backbone = backbone_of(classifier)
    modules = backbone.modules() if isinstance(backbone, nn.Module) else ()
    lists = (module for module in modules if isinstance(module, nn.ModuleList) and len(module) == n_layers)
    return [*next(lists, ())]


@contextmanager
def left_out(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Within, these layers hand on what they get."""

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
def fed(layer: nn.Module, states: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, the layer reads states(what it was handed) instead."""
    handle = layer.register_forward_pre_hook(lambda _, args: (states(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def read_only_modules(layer: nn.Module) -> dict[str, nn.Module]:
    """What a layer need compute for the read tokens only, by name; none of them inside another."""
    found: dict[str, nn.Module] = {}
    for name, module in layer.named_modules():
        if name.rsplit(".", 1)[-1] in (*TOKEN_WISE, *QUERY_SIDE) and not any(
            name.startswith(f"{above}.") for above in found
        ):
            found[name] = module
    return found


@contextmanager
def read_only(modules: dict[str, nn.Module], places: Tensor, n_tokens: int) -> Iterator[None]:
    """Within, these token-wise modules compute the tokens at `places` only and give 0 for the others.

    For the last layer, of which nothing but the read tokens is used: query and output projection, feed-forward.
    n_tokens: of the pack.
    """

    def take(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            part.index_select(1, places) if isinstance(part, Tensor) and part.shape[1] == n_tokens else part
            for part in args
        )

    def put_back(_module: nn.Module, _args: tuple[Any, ...], out: Tensor) -> Tensor:
        return out.new_zeros(1, n_tokens, out.shape[-1]).index_copy(1, places, out)

    handles = [module.register_forward_pre_hook(take) for module in modules.values()]
    handles += [
        module.register_forward_hook(put_back)
        for name, module in modules.items()
        if name.rsplit(".", 1)[-1] not in KEPT_SHORT
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def first_tokens(backbone: nn.Module, places: Tensor) -> Iterator[None]:
    """Within, an encoder's result for a pack [1, T, width] is that of n sequences of one token, [n, 1, width].

    places: [n] of each sequence's first token, which is what its classifier reads.
    """

    def cut(module: Any, _args: Any, out: Any) -> Any:
        out.last_hidden_state = out.last_hidden_state[0, places][:, None]
        pooler = getattr(module, "pooler", None)
        if pooler is not None:
            out.pooler_output = pooler(out.last_hidden_state)
        return out

    handle = backbone.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def has_fast_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 (AMX or AVX512-BF16); one without is slower in it."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
