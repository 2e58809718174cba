"""The grader ``choice``: the letter that an answer to a multiple-choice question settles on."""

from __future__ import annotations

import re

from routellm_batch.answers.wrappings import bare, tagged
from routellm_batch.config.answers import ChoiceOptions

_OPENING = r"[\s*_\"'`($\[{:]{0,8}(?:\\boxed\s?\{)?(?:\\(?:text|textbf|mathrm|mathbf)\s?\{)?\s?\(?"
_WORD_AFTER = re.compile(r" ([a-z]+)")
_CONTINUATIONS = frozenset(
    ("because", "since", "as", "for", "and", "or", "which", "with", "if", "by", "based", "is")
)
"""Words that may follow the letter A or I; before any other word, "A" is an article and "I" a pronoun."""
_FULL_WIDTH = {0xFF21 + n: chr(ord("A") + n) for n in range(26)} | {
    0xFF41 + n: chr(ord("a") + n) for n in range(26)
}
_OTHER_WORDS = (
    r"(?:(?:respuesta|r[ée]ponse|antwort|resposta|risposta|ответ\w*|odpowied[źz]|antwoord|svar(?:et)?|cevap|jawaban|opci[óo]n"
    r"|الإجابة|الجواب|उत्तर|정답|답|答案|正解|回答|答え|选项|選項)"
    r"(?:\s?(?:correcta|correcte|correta|corretta|richtige|poprawna|الصحيحة|सही|选择|選擇|应该|應該))?"
    r"[\s*_\"'`]{0,4}(?:\bes\b|\best\b|\bist\b|\blautet\b|\bé\b|\bè\b|\bto\b|\bis\b|هي|هو|是|為|为|は|은|는|[:：=—–-]|(?=[*(\[]))"
    r"[\s:：]{0,3}(?:la|le|die|der|das|opci[óo]n|option|selon|lettre|letra|буква|选项|選項)?)"
)
"""How an answer is called an answer in other languages."""
_CHOOSE = (
    r"\b(?:choose|chose|pick|picked|select|selected|go with|going with)\b"
    r"(?:\s(?:the|option|answer|choice|letter)){0,2}"
)
_PREFIX = r"(?i:(?:option|choice|answer|letter)[\s*_]{1,3})?"


class ChoiceReader:
    """Reads the letter that an answer settles on.

    That is the last letter that it calls its answer; else the last letter that stands alone on a line; else the letter that
    it opens with, if no other line opens with another one.
    """

    def __init__(self, config: ChoiceOptions) -> None:
        upper = f"[{config.letters}]"
        either = f"[{config.letters}{config.letters.lower()}]"
        end = r"(?!['’]?[A-Za-z0-9_])"
        self._letters = config.letters
        self._phrases = (
            re.compile(
                r"(?i:\b(?:answer|choice|option)\b(?:\s(?:choice|option|letter))?[\s*_\"'`]{0,4}"
                r"(?:is|are|would be|should be|must be|=|:)(?:\s(?:the|option|choice|letter|therefore|thus)){0,3})"
                rf"{_OPENING}({upper}){end}"
            ),
            re.compile(
                rf"(?i:\banswer\b[\s*_\"'`]{{0,4}}(?:is|:))[\s*_\"'`]{{0,4}}(?:\\boxed\s?\{{)?[(\[{{]({either})[)\]}}]"
            ),
            re.compile(
                rf"(?i:\banswer\b[\s*_\"'`]{{0,4}}(?:is|:))[ \t*_\"'`]{{0,4}}({either})[.*_\"'` \t]{{0,4}}$",
                re.MULTILINE,
            ),
            re.compile(rf"\\boxed\s?\{{\s?(?:\\(?:text|textbf|mathrm|mathbf)\s?\{{)?\s?\(?({either}){end}"),
            re.compile(
                rf"(?<![A-Za-z0-9_])\(?({upper})\)?\**\s(?i:is\s(?:the\s)?(?:correct|right|best|(?:final\s)?answer))\b"
            ),
            re.compile(rf"(?i:{_OTHER_WORDS}){_OPENING}({upper}){end}"),
            re.compile(rf"(?i:{_CHOOSE}){_OPENING}({upper}){end}"),
        )
        self._hedge = re.compile(
            rf"[)\]}}*]{{0,3}}(?:\s(?:or|and|oder|und|ou|et|o|y|e)\s|\s?[/&]\s?|,\s(?=[(\[*]{{0,3}}{upper}[)\]*.]{{0,3}}\s*$))"
            rf"[(\[*]{{0,3}}{upper}{end}",
            re.MULTILINE,
        )
        self._alone = re.compile(rf"^[^\w\n]{{0,8}}{_PREFIX}({either})[^\w\n]{{0,8}}$", re.MULTILINE)
        self._opening = re.compile(
            rf"^[ \t*_(\[\"'`]{{0,6}}{_PREFIX}({upper})[*_]{{0,2}}[).:\],：。、）]", re.MULTILINE
        )

    def reference(self, value: object) -> str | None:
        """Return the right letter, in upper case; the option's text may follow it. None where the reference is no letter."""
        text = str(value).strip()
        match = self._alone.fullmatch(text) or self._opening.match(text)
        return match[1].upper() if match else None

    def answer(self, text: str) -> str | None:
        """Return the letter that an answer settles on, in upper case; None where it settles on none."""
        text = bare(text).translate(_FULL_WIDTH)
        in_tags = [
            match[1].upper()
            for block in tagged(text)
            if (match := self._alone.fullmatch(block) or self._opening.match(block))
            and not self._hedge.match(block, match.end(1))
        ]
        if in_tags:
            return in_tags[-1]
        letters = [
            (match.start(1), match[1].upper())
            for pattern in self._phrases
            for match in pattern.finditer(text)
            if not (self._is_word(text, match) or self._hedge.match(text, match.end(1)))
        ]
        if letters:
            return max(letters)[1]
        alone = self._alone.findall(text)
        if alone:
            return str(alone[-1]).upper()
        opening = set(self._opening.findall(text))
        first = self._opening.match(text := text.lstrip())
        settled = first is not None and len(opening) == 1 and not self._hedge.match(text, first.end(1))
        return first[1] if first is not None and settled else None

    def same(self, answer: str, reference: str) -> bool:
        """Whether answer and reference are the same letter."""
        return answer == reference

    def _is_word(self, text: str, match: re.Match[str]) -> bool:
        """Whether the letter is the article "A" or the pronoun "I"."""
        bare = text[match.start(1) - 1 : match.start(1)] in {" ", "\n", ":"}
        after = _WORD_AFTER.match(text, match.end(1))
        return bool(match[1] in "AI" and bare and after and after[1] not in _CONTINUATIONS)
