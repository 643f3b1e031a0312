"""Text as a model reads it: pure Polars expressions, string in, string out.

Markdown stays as the author wrote it, because readers voted on it: emphasis, lists, quotes ("> " lines), links as
[name](address), and code with its fences or indentation. Only what Reddit's transport adds is undone: escaped entities,
zero-width characters, Windows line ends, repeated empty lines, and repeated or trailing blanks.

Sentences that reveal the score ("EDIT: thanks for the gold", "this blew up") are removed from prompts and responses,
also inside quotes and code: they were written after the votes came in, and a model could read the label from them. A
sentence runs from one stop or line end to the next. A harmless sentence that mentions votes may be removed too. The
remaining text is never reworded, and cleaning is idempotent.
"""

import polars as pl

from lurker.removed import REMOVED_TEXT

_ENTITIES = {
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    "&#39;": "'",
    "&nbsp;": " ",
    "&#x200B;": "",
    "&amp;": "&",  # last, or "&amp;lt;" would be unescaped twice
}

_REWARD = r"(?:gold(?:ing)?|silver|platinum|awards?|upvotes?|up-votes?|karma|updoots?|gilding)"
_DOWN = r"down\s*-?\s*vot(?:e[ds]?|ing)"
_VOTED = r"(?:down|up)\s*-?\s*vot(?:ed|es)"
_SCORE_TALK = (
    rf"\b(?:thanks?|thank\s+you|thx|ty|tysm|appreciate|grateful)\b[^.!?\n]{{0,60}}\b{_REWARD}\b",
    rf"\bedit(?:ed)?\b[^.!?\n]{{0,40}}\b(?:{_REWARD}|{_VOTED}|front\s+page)\b",
    r"\b(?:my|first|a)\s+(?:\w+\s+)?(?:reddit\s+)?(?:gold|silver|platinum)\b(?:\s*[.!?,\n]|\s*$|\s+(?:ever|on\s+reddit|kind))",
    r"\b(?:kind|generous)\s+(?:internet\s+)?strangers?\b",
    r"\b(?:this|it|my\s+(?:comment|post|inbox)|that)\s+(?:really\s+|kinda\s+|totally\s+|sure\s+|has\s+|just\s+)*"
    r"(?:blew|blown|got\s+blown|blowing)\s+up\b",
    r"\b(?:expect(?:ed|ing)?|think|thought)\s+(?:this|it|that)\s+(?:to|would|was\s+going\s+to)\s+blow\s+up\b",
    r"\b(?:top|most\s+(?:up|down)voted|highest\s+(?:rated|voted|upvoted))\s+comment\b",
    rf"\b(?:why|all|for|the|so\s+many|with)\s+(?:\w+\s+){{0,3}}{_DOWN}\b",
    rf"\b(?:i['’]?m|i\s+am|am|being|getting|got|was|been)\s+(?:\w+\s+)?{_VOTED}\b",
    r"\b\d+k?\s+(?:up|down)\s*-?\s*votes?\b",
    r"\b(?:rip|r\.i\.p\.?)\s+(?:to\s+)?(?:my\s+)?inbox\b",
    r"\binbox\s+(?:is\s+)?(?:exploded|exploding|blew|blown|dead|rip)\b",
    r"\b(?:made|hit|reached)\s+(?:it\s+to\s+)?the\s+front\s+page\b",
)
# Every pattern above contains one of these: a quick search for them spares most texts the slow expressions.
_STEMS = [
    *("gold", "silver", "platinum", "award", "vote", "karma", "updoot"),
    *("voting", "gilding", "stranger", "blew", "blow", "comment", "inbox", "front page"),
]
# The regex engine is linear in the text.
_SCORE_TALK_SENTENCE = rf"(?i)[^.!?\n]*(?:{'|'.join(_SCORE_TALK)})[^.!?\n]*[.!?]*"
_EMPTY_EDIT_NOTE = r"(?im)^[ \t*_~]*edit(?:ed)?[ \t]*\d*[ \t]*[:\-]*[ \t*_~]*$"

# [name](address), or a bare address
_LINK = r"\[[^\]\n]*\]\([^)\s]*\)|<?(?:https?://|www\.)\S+"
_BOT_SPEECH = (
    r"(?i)\b(?:i\s+am|i['’]m)\s+(?:just\s+)?an?\s+(?:\w+\s+)?bot\b[\s,.]*(?:and|beep|this|\^|\*|$|\n|contact|my\s)"
    r"|\bthis\s+(?:action|comment|message|reply)\s+was\s+(?:performed|posted|made|written|generated)\s+"
    r"(?:automatically|by\s+a\s+(?:ro)?bot)\b|\bbeep[\s,.]+boop\b"
)


def clean_text(text: pl.Expr) -> pl.Expr:
    """A body or title with entities and white space normalised; deleted and removed texts become empty."""
    plain = text.fill_null("").str.replace_many(list(_ENTITIES)[:-1], list(_ENTITIES.values())[:-1])
    plain = plain.str.replace_all("&amp;", "&", literal=True)
    plain = plain.str.replace_all("[\u200b\u200c\u200d\ufeff\u0000]", "").str.replace_all(r"\r\n?", "\n")
    plain = plain.str.replace_all(r"[^\S\n]+(\n|$)", "$1").str.replace_all(r"(\S)[^\S\n]{2,}", "$1 ")
    plain = plain.str.replace_all(r"\n{3,}", "\n\n").str.strip_chars()
    return plain.str.replace(REMOVED_TEXT, "")  # not when/then: Polars would clean the text once per branch


def remove_score_talk(text: pl.Expr) -> pl.Expr:
    """The text without the sentences about its own score, and without an "EDIT:" that is left empty."""
    is_suspect = text.str.contains_any(_STEMS, ascii_case_insensitive=True)
    suspects = pl.when(is_suspect).then(text).otherwise(pl.lit(""))
    kept = pl.when(is_suspect).then(suspects.str.replace_all(_SCORE_TALK_SENTENCE, "")).otherwise(text)
    kept = kept.str.replace_all(_EMPTY_EDIT_NOTE, "")
    return kept.str.replace_all(r"\n{3,}", "\n\n").str.strip_chars()


def response_text(body: pl.Expr) -> pl.Expr:
    """A response as a model reads it: cleaned, without score talk; may be empty."""
    return remove_score_talk(clean_text(body))


def prompt_text(title: pl.Expr, body: pl.Expr) -> pl.Expr:
    """A prompt as a model reads it: title, a blank line, body; only the title when the body is empty."""
    heading, text = remove_score_talk(clean_text(title)), remove_score_talk(clean_text(body))
    # A title that consists of score talk is kept, so that a prompt is never empty.
    heading = pl.when(heading == "").then(clean_text(title)).otherwise(heading)
    return pl.when(text == "").then(heading).otherwise(heading + "\n\n" + text)


def is_link_only(text: pl.Expr) -> pl.Expr:
    """Whether the text consists of links only (addresses and their names); false for an empty text."""
    has_link = text.str.contains_any(["http", "www."], ascii_case_insensitive=True)
    rest = pl.when(has_link).then(text).str.replace_all(_LINK, " ")
    return has_link & ~rest.str.contains(r"\w").fill_null(True)


def says_it_is_a_bot(text: pl.Expr) -> pl.Expr:
    """Whether the text says that it was written by a bot."""
    is_suspect = text.str.contains_any(["bot", "automatic", "boop"], ascii_case_insensitive=True)
    return is_suspect & pl.when(is_suspect).then(text).str.contains(_BOT_SPEECH).fill_null(False)
