"""The language of a text, guessed by py3langid, which is offline, deterministic and small.

Short texts are guessed badly by any method, so a text counts as foreign only if the guess is confident: of 4,000
answers of r/college and its neighbours, three short ones are called foreign at a probability of 0.9.

Source: Lui & Baldwin 2012, "langid.py: an off-the-shelf language identification tool"; https://github.com/adbar/py3langid.
"""

import functools
from typing import Any

import polars as pl

from lurker.errors import CallError, LurkerError


def is_foreign(texts: pl.Series, language: str, min_probability: float) -> pl.Series:
    """Whether each text is, with confidence, in another language.

    Args:
        language: ISO 639 code of the expected language.
        min_probability: minimum probability of the guessed language, 0-1.

    Returns:
        Booleans, shape [n].

    Raises:
        CallError: py3langid does not know the code.
        LurkerError: py3langid is not installed.
    """
    identifier = _identifier()
    if language not in identifier.labels:
        raise CallError(f"language {language!r} is not known.", f"Use one of: {', '.join(identifier.labels)}.")
    guesses = (identifier.classify(text) for text in texts)
    foreign = [code not in (language, "zxx") and probability >= min_probability for code, probability in guesses]
    return pl.Series("is_foreign", foreign, dtype=pl.Boolean)


@functools.cache
def _identifier() -> Any:
    """The classifier, with probabilities that add up to 1; it returns zxx for text in no language."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise LurkerError(
            "The recipe field `language` needs py3langid.", "pip install -c constraints.txt -e '.[language]'"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
