"""Mean pooling for a BERT classifier as one extra BERT layer, so that transformers loads the model without our code.

transformers' BERT classifier reads the first token through a pooler. Sentence encoders are trained to be read by the
mean of all tokens, so their first token and pooler are untrained.
"""

from typing import Any

import torch
from torch import nn

from lurker.errors import CallError
from rm.models.layers import backbone_of, classifier_of, layers_of

MEAN_WEIGHT = 8.0
"""Weight of the mean over all tokens relative to the first token's own state, which the layer's residual adds."""
POOLER_SCALE = 0.5
"""Factor on the normalised mean before the pooler's tanh, which is then nearly linear and does not saturate."""


def is_mean_pooled(model: Any) -> bool:
    """Whether `add_mean_pooling` made the last layer of a model, as in a run that this one starts from.

    Its attention's output starts at MEAN_WEIGHT times the identity, from which training moves it little.
    """
    classifier = classifier_of(model)
    if classifier.config.model_type != "bert":
        return False
    weight = layers_of(classifier)[-1].attention.output.dense.weight
    return float(weight.detach().diagonal().mean()) > MEAN_WEIGHT / 2


@torch.no_grad()
def add_mean_pooling(model: Any) -> None:
    """Append a layer whose first token is the normalised mean of all tokens, which the pooler then passes on.

    Queries are 0, so attention is uniform over all tokens; values pass unchanged; the feed-forward network adds 0.
    Everything can be trained from there: keys are copied from the layer below, since with keys of 0 queries would
    never receive a gradient.
    Source: Reimers & Gurevych 2019 (Sentence-BERT), section 3: mean pooling beats the first token.

    Raises:
        CallError: The model is not a BERT with a pooler.
    """
    classifier = classifier_of(model)
    backbone, layers = backbone_of(classifier), layers_of(classifier)
    pooler = getattr(backbone, "pooler", None)
    if classifier.config.model_type != "bert" or pooler is None:
        raise CallError(
            f"pooling=mean needs a BERT classifier with a pooler, and this model is {classifier.config.model_type}.",
            "Leave it out, so that the model is read as its own classifier does.",
        )
    below, width = layers[-1], classifier.config.hidden_size
    layer = type(below)(classifier.config, layer_idx=len(layers))
    layer.load_state_dict(below.state_dict())
    identity = torch.eye(width)
    for linear, weight in (
        (layer.attention.self.query, torch.zeros(width, width)),
        (layer.attention.self.value, identity),
        (layer.attention.output.dense, MEAN_WEIGHT * identity),
        (layer.output.dense, torch.zeros_like(layer.output.dense.weight)),
        (pooler.dense, POOLER_SCALE * identity),
    ):
        linear.weight.copy_(weight)
        nn.init.zeros_(linear.bias)
    for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
        norm.reset_parameters()
    layer.train(below.training).to(below.output.dense.weight.device)
    backbone.encoder.layer.append(layer)
    classifier.config.num_hidden_layers += 1
