"""How many tokens a model reads."""

from typing import Any

from rm.models.layers import backbone_of, classifier_of


def first_position(classifier: Any) -> int:
    """Position of a sequence's first token: RoBERTa and its variants start after the padding token's id."""
    padding = getattr(getattr(backbone_of(classifier), "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def most_tokens(model: Any) -> int | None:
    """The longest sequence that a model can read; None without a limit, as with relative positions (T5, XLNet)."""
    classifier = classifier_of(model)
    config = classifier.config.get_text_config()
    n_positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(n_positions, int) or n_positions < 1:
        return None
    return n_positions - first_position(classifier)
