"""Which of some labels an answer names: alone, in other marks, in a tag, after "Label:" or in a sentence that states it.

Precision comes first: where the text names two labels, only a clear statement decides, and what is denied, doubted or
asked is no statement.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

from routellm_batch.answers.embedded import values_in
from routellm_batch.answers.wrappings import bare, fenced, folded, tagged, undressed

_KEYS = (
    *("answer", "label", "category", "class", "classification", "verdict", "result", "output", "prediction"),
    *(
        "conclusion",
        "choice",
        "decision",
        "sentiment",
        "respuesta",
        "réponse",
        "reponse",
        "antwort",
        "resposta",
    ),
    *(
        "risposta",
        "ответ",
        "答案",
        "回答",
        "结论",
        "結論",
        "標籤",
        "标签",
        "正解",
        "ラベル",
        "답",
        "정답",
        "etiqueta",
    ),
    *(
        "étiquette",
        "kategorie",
        "catégorie",
        "categoría",
        "categoria",
        "klasse",
        "метка",
        "категория",
        "الإجابة",
    ),
    *("उत्तर", "分类", "分類", "类别", "類別"),
)
"""Names that an answer may give its label: what stands after them decides, even where other labels are named."""
_LINE = re.compile(r"^(?P<key>[^:：=\n]{1,80}?)\s*(?::|：|=|->|→|=>)\s*(?P<value>\S.*)$")
_SENTENCES = re.compile(r"(?<=[.!?。！？।])\s+|(?<=[。！？।])|[;；\n]+")
_STATED = re.compile(
    r"(?:\b(?:is|are|as|be|was|it's|that's|choose|chose|pick|picked|select|selected|say|go with|est|ist|es|è|é|jest|är|er"
    r"|como|als|comme|label|category|class)\b|(?<=\w)(?:'s)|是|為|为|は|属于|屬於|это)[\s:：*_\"'“”„«»‘’「」『』`(\[]*"
    r"(?:(?:an?|the|clearly|likely|very likely|definitely|mostly|overall|therefore|thus|probably|simply|just|label"
    r"|category|class|option|un|une|ein|eine|der|die|das|la|le|el)[\s:*_\"'“”„«»‘’`(\[]+){0,3}$"
)
_CLOSED = re.compile(
    r"[\s*_\"'“”„«»‘’「」『』`)\]]*(?:$|[.,!。，！．।]|[-–—:;(]|\b(?:because|since|as|due|given|based|here)\b"
    r"|(?:sentiment|review|label|category|class|one|message|email|comment|post|text|tweet|in (?:tone|sentiment|nature))"
    r"\b[\s\"'*_]*(?:$|[.,!]|\b(?:because|since|as)\b)|的|です|だ|である|입니다|है|हैं|است)"
)
_DOUBT = re.compile(
    r"\b(?:not|\w+n't|no|never|neither|nor|none|without|hardly|barely|cannot|can't|whether|if|unless|could|might|may|maybe"
    r"|perhaps|possibly|either|or|but|unclear|unsure|unlikely|anything|what|which|who|when|opposite|rather than"
    r"|instead of|except|nicht|kein\w*|oder|weder|ne|n'est|pas|ou|non|não|nem|não|ni|nunca|sin|o|не|или|нет|nie|inte"
    r"|eller|ikke|niet|geen|of neither)\b|[?？]|[不没沒非]|ない|ません|아니|않|नहीं|ليس|或|または"
)
_OPENING = re.compile(
    r"[*_]*\)[*_]*\s|\s*[\"'”»’*_`)\]」』]*\s*(?:[.!,;:：。，！(\n]|\s[-–—]\s|[—–]\s?|\s?-\s)"
)
MAX_AROUND = 400
"""Characters that may stand around a label which is said to be all of a text; more is not looked through."""
MAX_MENTIONS = 32
"""Mentions of labels in one sentence that are looked at."""
_FINAL = re.compile(r"\bfinal(?:ly)?\b|最终|最終|endgültig|definitiv")
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LEFT = r"(?<![\w\-+#$€£/.@&])(?<!\w['’])"
_RIGHT = r"(?!['’]?[\w+#%/@&]|-\w|[.,]\d)"


@lru_cache(maxsize=64)
def value_reader(values: tuple[str, ...], column: str) -> ValueReader:
    """Return the reader of some labels, made once."""
    return ValueReader(values, column)


class ValueReader:
    """Reads which of some labels an answer gives.

    Args:
        values: the labels.
        column: name of the column that labels go to, which an answer may name too.

    """

    def __init__(self, values: Sequence[str], column: str) -> None:
        self._values = tuple(values)
        self._keys = frozenset(map(folded, (*_KEYS, column.replace("_", " "))))
        longest = sorted(self._values, key=len, reverse=True)
        self._chars = len(longest[0]) + MAX_AROUND if longest else 0
        self._named = re.compile("|".join(map(_mention, longest)) if longest else r"(?!)")
        self._by_form: dict[str, set[str]] = {}
        for value in self._values:
            self._by_form.setdefault(folded(value), set()).add(value)

    def read(self, answer: str) -> tuple[str | None, bool]:
        """Return the label that an answer gives, or None; and whether it names several, none of them for certain."""
        text = bare(answer)
        label = self._whole(answer) or self._whole(text) or self._wrapped(text)
        if label is not None:
            return label, False
        stated = self._stated(text)
        if stated:
            return (stated[0], False) if len(set(stated)) == 1 else (None, True)
        named = self._mentions(text)
        if len(named) != 1:
            return None, len(named) > 1
        return (named.pop() if self._says_one(text) else None), False

    def _whole(self, text: str) -> str | None:
        """Return the label that a text is, from end to end; first to the letter, then in other case and other marks."""
        text = text.strip()
        if len(text) > self._chars:
            return None
        forms = list(undressed(text))
        for form in (text, *forms):
            if form in self._values:
                return form
        for known in (folded, _loose, _plainest):
            for form in forms:
                same = [value for value in self._values if known(form) and known(form) == known(value)]
                if same:
                    return same[0] if len(same) == 1 else None
        return None

    def _wrapped(self, text: str) -> str | None:
        """Return the label in answer tags, in a fence, or in JSON that holds it alone or under a known name."""
        for blocks in (tagged(text), fenced(text)):
            labels = {self._whole(block) or self._in_json(block) for block in blocks if block}
            if len(labels) == 1 and None not in labels:
                return labels.pop()
        return self._in_json(text)

    def _in_json(self, text: str) -> str | None:
        values = values_in(text)
        if isinstance(values, str) or len(values) != 1:
            return None
        value = values[0]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, dict):
            known = [one for key, one in value.items() if folded(key.replace("_", " ")) in self._keys]
            value = known[0] if len(known) == 1 else next(iter(value.values())) if len(value) == 1 else None
        if isinstance(value, bool) or (isinstance(value, int) and not isinstance(value, bool)):
            value = json.dumps(value)
        return self._whole(value) if isinstance(value, str) else None

    def _stated(self, text: str) -> list[str]:
        """Return the labels that an answer states as its own: the final ones, else all.

        They stand after a name such as "Label:", or in a last line of their own.
        """
        stated = [
            (label, bool(_FINAL.search(folded(sentence))))
            for sentence in self._lines(text)
            if (label := self._statement(sentence)) is not None
        ]
        final = [label for label, is_final in stated if is_final]
        if final or stated:
            return final[-1:] or [label for label, _ in stated]
        lines = [line for line in text.splitlines() if line.strip()]
        alone = [self._whole(line) for line in lines]
        labels = {label for label in alone if label is not None}
        closes = len(lines) > 1 and alone[-1] is not None and len(labels) == 1
        return [alone[-1] or ""] if closes and not _DOUBT.search(folded(lines[-2])[-12:]) else []

    def _lines(self, text: str) -> Iterator[str]:
        """Yield the sentences of a text; a line that is a whole one first, as labels may hold full stops."""
        for line in text.splitlines():
            if self._statement(line) is not None:
                yield line
            else:
                yield from (part for part in _SENTENCES.split(line) if part and part.strip())

    def _statement(self, sentence: str) -> str | None:
        """Return the label in "Label: X" or "the answer is X"."""
        line = sentence.strip(" \t*_#>-–•")
        match = _LINE.match(line)
        if match and self._is_key(match["key"]):
            return self._whole(match["value"])
        for key, rest in _copula(line, self._chars):
            if self._is_key(key) and not _DOUBT.search(folded(key)):
                label = self._whole(rest)
                if label is not None:
                    return label
        return None

    def _is_key(self, text: str) -> bool:
        """Whether a lead-in ends with one of the names, as "My final answer" does."""
        words = folded(text).strip(" *_\"'`#>«»[](){}").split()
        ends = {" ".join(words[-n:]) for n in range(1, 4)} if words else set()
        return len(words) <= 8 and (bool(ends & self._keys) or bool(words and words[-1] in self._keys))

    def _mentions(self, text: str) -> set[str]:
        """Return the labels that a text names; of labels within labels the longest."""
        named: set[str] = set()
        for match in self._named.finditer(unicodedata.normalize("NFKC", text)):
            named |= self._by_form.get(folded(match[0]), set()) or {match[0]}
        return named

    def _says_one(self, text: str) -> bool:
        """Whether a text that names one label says that this is it: it opens with it, or a sentence states it."""
        text = unicodedata.normalize("NFKC", text)
        opening = text.lstrip(" \t\r\n*_\"'`“„«‘([「『#>-•")
        first = self._named.match(opening)
        if first and _OPENING.match(opening, first.end()):
            return True
        for sentence in _SENTENCES.split(text):
            for match in islice(self._named.finditer(sentence or ""), MAX_MENTIONS):
                before, after = folded(sentence[: match.start()]), folded(sentence[match.end() :])
                if _DOUBT.search(f"{before} \n {after}"):
                    continue
                key = _LINE.match(sentence.strip())
                whole = key is not None and self._whole(key["value"]) is not None
                if whole or (
                    _STATED.search(_spaced(before, sentence, match.start())) and _CLOSED.match(after)
                ):
                    return True
        return False


def _spaced(before: str, sentence: str, at: int) -> str:
    """Return what stands before a label, with the space that folding takes off its end."""
    return f"{before} " if sentence[at - 1 : at].isspace() else before


_COPULA = re.compile(
    r"\s(?:is|est|ist|es|è|é|jest|är|er)\s(?:therefore\s|thus\s|clearly\s)?|是|為|为|は", re.IGNORECASE
)


def _copula(line: str, most: int) -> Iterator[tuple[str, str]]:
    """Yield what stands on either side of each "is" of a sentence that has at most ``most`` characters on each side."""
    for match in _COPULA.finditer(line):
        if max(match.start(), len(line) - match.end()) > most:
            continue
        rest = re.sub(r"(?:です|である|だ|है|입니다)(?=[。.!]?$)", "", line[match.end() :])
        yield line[: match.start()], rest.lstrip(" :：")


def _loose(text: str) -> str:
    """Return a text in which dashes and underscores are spaces."""
    return re.sub(r"(?<=\w)[\s_\-–]+(?=\w)", " ", folded(text))


def _plainest(text: str) -> str:
    """Return the last of the forms that ``undressed`` gives."""
    *_, last = undressed(text)
    return folded(last)


def _mention(value: str) -> str:
    """Return a pattern that finds a label as a word; a single letter counts only in its own case."""
    value = unicodedata.normalize("NFKC", value)
    if not value.strip():
        return r"(?!)"
    left = "" if _SPACELESS.match(value) else _LEFT
    right = "" if _SPACELESS.match(value[-1]) else _RIGHT
    words = r"[\s_\-]+".join(map(re.escape, value.replace("_", " ").split())) or re.escape(value)
    return f"{left}{words}{right}" if len(value) == 1 else f"{left}(?i:{words}){right}"
