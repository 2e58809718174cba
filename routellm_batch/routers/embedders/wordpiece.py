"""Token ids of texts, several times faster than the tokenizer itself and equal to it, piece by piece.

A WordPiece tokenizer of the BERT family treats each word on its own, so what it says of a word can be kept: most
words of a job are repeats. Which pieces of a text are words must be known without asking it: in printable ASCII
they are runs of letters and digits, and single punctuation marks; anything else is handed over from one space
to the next, as space is the one thing that the tokenizer always splits at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

TOKEN_TYPE = np.uint16
"""Ids are kept as bytes of this type; vocabularies hold fewer than 65,536 tokens."""
CACHE_CHARS = 1_000_000
"""Characters of remembered pieces; beyond it all are forgotten. About 30 MB."""

_WORD = re.compile(r"[a-z0-9]+|[!-/:-@\[-`{-~]")
_SPACE = re.compile(r"[ \t\n\r]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class PieceCache(dict[str, bytes]):
    """Piece of text → its token ids as bytes; what is missing is asked of the tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._chars = 0

    def __missing__(self, piece: str) -> bytes:
        if self._chars > CACHE_CHARS:
            self.clear()
            self._chars = 0
        # A lone surrogate is no text; the tokenizer refuses it, so it becomes a question mark.
        text = piece if piece.isascii() else piece.encode("utf-8", "replace").decode("utf-8")
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        found = self[piece] = np.array(ids, dtype=TOKEN_TYPE).tobytes()
        self._chars += len(piece)
        return found


def token_bytes(cache: PieceCache, texts: Sequence[str]) -> list[bytes]:
    """Return the token ids of each text, as bytes of ``TOKEN_TYPE``."""
    lookup = cache.__getitem__
    return [b"".join(map(lookup, _pieces(text))) for text in texts]


def _pieces(text: str) -> list[str]:
    if text.isascii() and not _CONTROL.search(text):
        return _WORD.findall(text.lower())
    pieces: list[str] = []
    for chunk in _SPACE.split(text):
        # Printable ASCII without a space has no control characters either.
        pieces += _WORD.findall(chunk.lower()) if chunk.isascii() and chunk.isprintable() else (chunk,)
    return pieces
