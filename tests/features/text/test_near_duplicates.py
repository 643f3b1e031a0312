import random

import numpy as np
import polars as pl
import pytest

from features.text.near_duplicates import DuplicateRule, near_duplicate_groups


def groups_of(texts: dict[str, str], n_parts: int = 1, rule: DuplicateRule | None = None) -> list[set[str]]:
    frame = pl.DataFrame({"id": list(texts), "text": list(texts.values())})
    size = -(-frame.height // n_parts)
    found = near_duplicate_groups(lambda: frame.iter_slices(size), rule or DuplicateRule())
    return sorted((set(group["id"]) for _, group in found.group_by("copy_group")), key=min)


def sentence(seed: int, n_words: int = 40) -> list[str]:
    words = random.Random(seed)
    return [f"w{words.randrange(500)}" for _ in range(n_words)]


def with_last_words_changed(words: list[str], n_changed: int) -> list[str]:
    return [*words[: len(words) - n_changed], *(f"x{n}" for n in range(n_changed))]


def test_case_marks_and_a_changed_end_are_still_duplicates() -> None:
    words = sentence(0)
    texts = {
        "c": " ".join(words),
        "a": "**" + ", ".join(words).upper() + "!**",
        "b": " ".join(with_last_words_changed(words, 2)),  # 34 runs of 36 + 2: similarity 0.89
        "d": " ".join(with_last_words_changed(words, 10)),  # 26 runs of 36 + 10: 0.57
        "e": " ".join(sentence(1)),
    }
    assert groups_of(texts) == [{"a", "b", "c"}]


def test_short_texts_are_never_duplicates() -> None:
    texts = {"a": "Congratulations on getting in!", "b": "Congratulations on getting in!"}
    assert groups_of(texts) == []
    assert groups_of(texts, rule=DuplicateRule(min_words=4, ngram_words=3)) == [{"a", "b"}]


def test_groups_equal_those_of_brute_force() -> None:
    texts = {}
    for seed in range(60):
        words = sentence(seed)
        for n_changed in range(0, 12, 2):
            texts[f"t{seed:02}-{n_changed:02}"] = " ".join(with_last_words_changed(words, n_changed))
    runs = {name: {tuple(text.split()[i : i + 5]) for i in range(36)} for name, text in texts.items()}
    names = sorted(texts)
    parent = {name: name for name in names}

    def root(name: str) -> str:
        return name if parent[name] == name else root(parent[name])

    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if len(runs[a] & runs[b]) / len(runs[a] | runs[b]) >= 0.8:
                parent[root(b)] = root(a)
    clusters: dict[str, set[str]] = {}
    for name in names:
        clusters.setdefault(root(name), set()).add(name)
    expected = sorted((group for group in clusters.values() if len(group) > 1), key=min)
    assert len(expected) == 60
    assert groups_of(texts) == expected


@pytest.mark.parametrize("n_parts", [1, 3])
def test_order_and_parts_do_not_matter(n_parts: int) -> None:
    texts = {f"{n:03}": " ".join(sentence(n % 70)) for n in range(100)}
    shuffled = dict(random.Random(n_parts).sample(list(texts.items()), k=len(texts)))
    assert groups_of(shuffled, n_parts) == [{f"{n:03}", f"{n + 70:03}"} for n in range(30)]


def test_a_text_pasted_very_often_is_one_group() -> None:
    texts = {f"{n:06}": " ".join(sentence(0)) for n in range(20_000)}
    (group,) = groups_of(texts)
    assert len(group) == 20_000


def test_empty_texts_are_never_duplicates() -> None:
    assert groups_of({"a": "", "b": ""}) == []
    nothing = near_duplicate_groups(lambda: [], DuplicateRule())
    assert nothing.height == 0 and np.array_equal(nothing.columns, ["id", "copy_group"])
