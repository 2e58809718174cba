"""What stands around an answer and says nothing: byte-order marks, end-of-turn tokens, fences, tags, quotes and marks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_INVISIBLE = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\x00"
_END = re.compile(
    r"<[|｜](?:im_end|eot_id|eom_id|end|end_of_text|endoftext|end_of_turn|return|eos|END_OF_TURN_TOKEN"
    r"|end▁of▁sentence)[|｜]>|</s>|<end_of_turn>|<eos>|<EOT>|<end_of_utterance>|\[/INST\]"
)
_BEGIN = re.compile(
    r"\s*(?:<s>|<bos>|<[|｜]im_start[|｜]>(?:assistant)?|<[|｜]assistant[|｜]>|<start_of_turn>(?:model)?"
    r"|<[|｜]start_header_id[|｜]>(?:assistant)?<[|｜]end_header_id[|｜]>)\s*"
)
_FENCE = re.compile(r"```|~~~")
_LANGUAGE = re.compile(r"[A-Za-z]{1,16}(?=\s)")
_NAMES = r"(?:answer|final[_ ]?answer|label|category|class|classification|choice|output|result|response|verdict|sentiment)"
_TAG = re.compile(rf"<(/?)({_NAMES})>", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s?\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf)\s?\{([^{}]*)\}")
_LATEX_BRACKETS = re.compile(r"^(?:\\\(|\\\[|\$\$?)\s*(.*?)\s*(?:\\\)|\\\]|\$\$?)$", re.DOTALL)
_MARKS = frozenset("*_`\"'“”„‟‘’‚«»‹›「」『』《》〈〉【】〔〕（）()[]{}")
"""Marks and quotes that may stand on either side of a word."""
_BEFORE = _MARKS | frozenset(":：•·¡¿")
_AFTER = _MARKS | frozenset(".!,;:。！，、；：．｡।॥؛،۔።…")


def bare(text: str) -> str:
    """Return an answer without what a server leaves around it: a byte-order mark, and tokens that begin or end a turn.

    What follows the end of its turn is not part of the answer.
    """
    text = text.strip(_INVISIBLE + " \t\r\n")
    while begins := _BEGIN.match(text):
        text = text[begins.end() :]
    end = _END.search(text)
    if end is not None:
        text = text[: end.start()]
    return text.strip(_INVISIBLE + " \t\r\n")


def fenced(text: str) -> list[str]:
    """Return what stands in the code fences of a text, one line or more each."""
    inside = _FENCE.split(text)[1::2]
    return [
        block[language.end() if (language := _LANGUAGE.match(block)) else 0 :].strip() for block in inside
    ]


def tagged(text: str) -> list[str]:
    r"""Return what stands in the answer tags of a text, such as ``<answer>…</answer>`` and ``\boxed{…}``.

    Where a server has cut one tag of a pair off, the text begins or ends there.
    """
    blocks = []
    opened: re.Match[str] | None = None
    tags = list(_TAG.finditer(text))
    for tag in tags:
        if not tag[1]:
            opened = tag
        elif opened is not None and opened[2].casefold() == tag[2].casefold():
            blocks.append(text[opened.end() : tag.start()].strip())
            opened = None
    if len(tags) == 1:
        at = tags[0]
        blocks.append((text[: at.start()] if at[1] else text[at.end() :]).strip())
    if not blocks:
        blocks = [match[1] for match in _BOXED.finditer(text)]
    return [_LATEX_TEXT.sub(r"\1", _BOXED.sub(r"\1", block)) for block in blocks]


def undressed(text: str) -> Iterator[str]:
    """Yield a text, then with less and less around it: white space, quotes, brackets, emphasis, full stops."""
    text = text.strip(_INVISIBLE + " \t\r\n")
    yield text
    while text:
        brackets = _LATEX_BRACKETS.match(text)
        if brackets:
            less = brackets[1]
        else:
            start = int(_is_before(text))
            stop = len(text) - int(len(text) > start and text[-1] in _AFTER)
            less = text[1:-1] if text[0] == "<" and text[-1] == ">" else text[start:stop]
        less = less.strip(_INVISIBLE + " \t\r\n")
        if less == text:
            return
        text = less
        yield text


def _is_before(text: str) -> bool:
    """Whether a text begins with a mark that says nothing; a minus, or "more than", does."""
    sign, after = text[0], text[1:2]
    if sign in "-–—=":
        return not after.isdigit()
    return sign in _BEFORE or (sign in "#>" and text.lstrip(sign)[:1].isspace())


def folded(text: str) -> str:
    """Return a text in one case and one normal form, with single spaces and without what can't be seen."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    text = "".join(sign for sign in text if sign not in _INVISIBLE and not "\ufe00" <= sign <= "\ufe0f")
    return " ".join(unicodedata.normalize("NFKC", text).split())
