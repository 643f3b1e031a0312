"""Mean pooling in a BERT classifier, as one more layer of its own kind: transformers loads it without any code of ours.

transformers' BERT classifier reads the first token through a pooler. Sentence encoders are trained to be read by the
mean of all tokens, and their first token and pooler were left behind.
"""

from typing import Any

import torch
from torch import nn

from lurker.errors import CallError
from rm.models.layers import backbone_of, classifier_of, layers_of

MEAN_WEIGHT = 8.0
"""How much more the mean of all tokens weighs than the first token's own state, which the layer adds to it."""
POOLER_SCALE = 0.5
"""The pooler's tanh gets the normalised mean times this: nearly linear, nothing is cut off."""


@torch.no_grad()
def add_mean_pooling(model: Any) -> None:
    """Append a layer whose first token is the normalised mean of all tokens, and let the pooler hand it on.

    Its queries are 0, so attention is even over all tokens; values pass as they are; its feed-forward part adds 0. All
    of it can be trained from there: keys are those of the layer below, else queries would never get a gradient.
    Source: Reimers & Gurevych 2019 (Sentence-BERT), section 3: mean pooling beats the first token.
    Errors: CallError when the model is no BERT with a pooler.
    """
    classifier = classifier_of(model)
    backbone, layers = backbone_of(classifier), layers_of(classifier)
    pooler = getattr(backbone, "pooler", None)
    if classifier.config.model_type != "bert" or pooler is None:
        raise CallError(
            f"pooling=mean is for BERT classifiers with a pooler, this one is {classifier.config.model_type}.",
            "Leave it out: the model is then read where its own classifier reads.",
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
