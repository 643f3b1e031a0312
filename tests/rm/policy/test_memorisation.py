"""What is copied from training texts: planted copies are found, and the curve is the one that counting gives."""

import numpy as np
import pytest

from rm.policy.memorisation import MAX_N, WORD, memorisation

WORDS = np.array(["the", "road", "was", "long", "and", "we", "went", "home", "rain", "tea", "."])


def random_texts(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 14))) for _ in range(n)]


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = WORD.findall(text.lower())
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def test_novelty_and_longest_copies_are_those_of_counting() -> None:
    texts, training = random_texts(40, seed=0), random_texts(60, seed=1)
    found = memorisation(texts, training)
    for n in range(1, MAX_N + 1):
        known = {one for text in training for one in ngrams(text, n)}
        own = [one not in known for text in texts for one in ngrams(text, n)]
        assert found.novelty[n - 1] == pytest.approx(np.mean(own))
    for text, longest, copied in zip(texts, found.longest, found.copied, strict=True):
        runs = [n for n in range(1, 15) if any(set(ngrams(text, n)) & set(ngrams(one, n)) for one in training)]
        assert longest == max(runs, default=0)
        assert longest == 0 or any(tuple(copied.split()) in ngrams(one, longest) for one in training)


def test_a_planted_copy_is_found_with_its_source() -> None:
    training = random_texts(50, seed=2)
    copied = "seven grey herons stood in the shallow water at dawn, waiting"
    training[17] = f"I saw it: {copied}. Truly."
    found = memorisation([f"well {copied} no", "zzz qqq", ""], training)
    assert found.longest.tolist() == [12, 0, 0]  # the comma is a word
    assert found.copied[0] == "seven grey herons stood in the shallow water at dawn , waiting"
    assert found.nearest.tolist() == [17, -1, -1]
    assert found.similarity[0] > 0.5 and not found.similarity[1:].any()
    report = found.report()
    assert (report["longest_copied_words"], report["median_longest_copied_words"]) == (12, 0.0)


def test_texts_without_words_and_no_texts_have_no_figures() -> None:
    nothing = memorisation([], ["a b"])
    assert nothing.novelty == [None] * MAX_N and nothing.report()["longest_copied_words"] == 0
    assert memorisation(["a b"], ["..", "..."]).nearest.tolist() in ([-1], [0])
    assert memorisation(["A B"], ["a b c"]).longest.tolist() == [2]  # case plays no part
