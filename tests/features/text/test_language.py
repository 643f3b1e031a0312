from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from features.recipes.presets import preset
from features.sets.build import build_pairs
from features.text.language import is_foreign
from lurker.config import override
from lurker.errors import CallError
from lurker.workspace import Workspace

ENGLISH = "Talk to your professor before the deadline, most of them will give you another week."
GERMAN = "Sprich vor der Frist mit deiner Professorin, die meisten geben dir noch eine Woche."
SPANISH = "Habla con tu profesora antes de la fecha límite, porque casi todas te dan una semana más si se lo pides."


def test_sentences_are_identified_and_short_or_wordless_texts_are_kept() -> None:
    texts = pl.Series([ENGLISH, GERMAN, SPANISH, "ok", "lol same", "👍👍", "12345", "", "https://a.b/c"])
    assert is_foreign(texts, "en", 0.9).to_list() == [False, True, True, *[False] * 6]
    assert is_foreign(texts, "de", 0.9).to_list()[:3] == [True, False, True]


def test_an_unknown_code_lists_the_known_ones() -> None:
    with pytest.raises(CallError, match="language 'english' is not known") as caught:
        is_foreign(pl.Series([ENGLISH]), "english", 0.9)
    assert "en, " in caught.value.next_step


def test_responses_and_posts_in_another_language_are_counted(
    write_workspace: Callable[..., Workspace], make_post: Callable[..., Any], make_comment: Callable[..., Any]
) -> None:
    posts = [make_post("p1", title=ENGLISH, body=""), make_post("p2", title=GERMAN, body="")]
    answers = [
        make_comment("a", body=ENGLISH, score=3),
        make_comment("b", body=ENGLISH + " It works.", score=9),
        make_comment("c", body=SPANISH),
        make_comment("d", "p2", body=ENGLISH),
    ]
    manifest = build_pairs(write_workspace(posts, answers), "x", override(preset("naive"), ["language=en"]))
    dropped = manifest["ledger"]["responses"]["dropped"]
    assert dropped == [{"reason": "post in another language", "n": 1}, {"reason": "in another language", "n": 1}]
    assert manifest["n_pairs"] == 1
