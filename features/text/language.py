"""The language of a text, guessed by py3langid, which is offline, deterministic and small.

Short texts are guessed badly by any method, so a text counts as foreign only where the guess is sure: of 4,000 answers
of r/college and its neighbours, three short ones are called foreign at a probability of 0.9.
Source: Lui & Baldwin 2012, "langid.py: an off-the-shelf language identification tool"; https://github.com/adbar/py3langid.
"""

import functools
from typing import Any

import polars as pl

from lurker.errors import CallError, LurkerError


def is_foreign(texts: pl.Series, language: str, min_probability: float) -> pl.Series:
    """Whether each text is surely in another language than that: [n] of booleans.

    language: ISO 639 code. min_probability: of the language that is guessed, 0-1.
    Errors: CallError for a code that the guesser does not know, LurkerError where it is not installed.
    """
    identifier = _identifier()
    if language not in identifier.labels:
        raise CallError(f"language {language!r} is not known.", f"Take one of: {', '.join(identifier.labels)}.")
    guesses = (identifier.classify(text) for text in texts)
    found = [code not in (language, "zxx") and probability >= min_probability for code, probability in guesses]
    return pl.Series("is_foreign", found, dtype=pl.Boolean)


@functools.cache
def _identifier() -> Any:
    """The guesser with probabilities that add up to 1; zxx stands for no language at all."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise LurkerError(
            "To tell languages apart py3langid is needed.", "pip install -c constraints.txt -e '.[language]'"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
