r"""The prompt of RouteLLM's causal-LLM classifier, as token ids.

    <|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>      prefix: the same for
    <|start_header_id|>user<|end_header_id|>                                               every question
    \n\n[Question]\n{question}\n\nPrediction:                                             body
    <|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n                            suffix: always the same

The prefix ends, and the suffix begins, with a special token. A tokenizer first splits a text at its special tokens and
then tokenises each piece by itself, so the ids of the three parts, joined, are the ids of the whole text: no merge can
cross a border. That is checked once when a router is made. Only the body holds what a user wrote, and special tokens are
not recognised in it: ``<|eot_id|>`` in a question is plain text.

Source of the layout: ``routers/causal_llm/prompt_format.py`` of RouteLLM's repository (arXiv 2406.18665); the assistant
header is what its model writes first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from routellm_batch.core.errors import CheckpointError, ConfigError

LABELS = ("[[1]]", "[[2]]", "[[3]]", "[[4]]", "[[5]]")
"""The tokens that the model answers with: points of the weak model's answer."""
BOS, HEADER, HEADER_END, EOT = "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
"""Special tokens of Llama 3."""
TEMPLATE = "[Question]\n{question}\n\nPrediction:\n"
"""The user's turn, as in the published checkpoints; used where a folder has no template."""
FIELD = "{question}"
"""Where the question goes in a template."""
SYSTEM_FILE, TEMPLATE_FILE, TOKENIZER_FILE = "system_ft_v5.txt", "classifier_ft_v5.txt", "tokenizer.json"
CHARS_PER_TOKEN = 16
"""A question is cut to this number of characters for each token before it is tokenised; no language packs more into one."""
SMALLEST_QUESTION = 8
"""Tokens that a question must have room for."""
SUFFIX = f"{EOT}{HEADER}assistant{HEADER_END}\n\n"
"""What every prompt ends with."""


def read_tokenizer(folder: Path, vocab_size: int | None) -> Tokenizer:
    """Return Llama 3's tokenizer, with the five label tokens added at its end where it lacks them.

    Args:
        folder: with a ``tokenizer.json``.
        vocab_size: of the model; None where the model will be resized to fit.

    Raises:
        CheckpointError: it is absent, damaged or not a Llama 3 tokenizer, or its ids are not the model's.

    """
    path = folder / TOKENIZER_FILE
    try:
        text = path.read_text("utf-8")
        json.loads(text)
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: holds no {TOKENIZER_FILE}; RouteLLM publishes none, so name Llama 3's with the router's "
            "option tokenizer (a folder, or hub:ORG/NAME@REVISION)"
        ) from None
    except ValueError:
        raise CheckpointError(f"{path}: is damaged; fetch it again") from None
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower.
        raise CheckpointError(f"{path}: is no tokenizer ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    missing = [name for name in (BOS, HEADER, HEADER_END, EOT) if not _is_special(tokenizer, name)]
    if missing:
        raise CheckpointError(f"{path}: has no special token {missing[0]}; Llama 3's tokenizer is needed")
    _add_labels(tokenizer, vocab_size, path)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if vocab_size is not None and largest >= vocab_size:
        raise CheckpointError(f"{path}: has token {largest}, and the model has only {vocab_size}")
    return tokenizer


def _is_special(tokenizer: Tokenizer, name: str) -> bool:
    return any(
        token.special and token.content == name for token in tokenizer.get_added_tokens_decoder().values()
    )


def _id(tokenizer: Tokenizer, name: str) -> int:
    return int(tokenizer.get_vocab(with_added_tokens=True)[name])


def _add_labels(tokenizer: Tokenizer, vocab_size: int | None, path: Path) -> None:
    present = [name for name in LABELS if _is_special(tokenizer, name)]
    if not present:
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in LABELS])
        first = _id(tokenizer, LABELS[0])
        expected = first if vocab_size is None else vocab_size - len(LABELS)
        if first != expected:
            raise CheckpointError(
                f"{path}: adding {LABELS[0]}…{LABELS[-1]} gives ids {first}…{first + 4}, and the model's last five are "
                f"{expected}…{expected + 4}; this is not the tokenizer that it was trained with"
            )
    elif len(present) < len(LABELS):
        raise CheckpointError(f"{path}: has only {', '.join(present)} of the five label tokens")


def read_text(folder: Path, name: str) -> str | None:
    """Return the text of a file in a folder; None where it is absent.

    Raises:
        CheckpointError: it is not UTF-8.

    """
    try:
        return (folder / name).read_text("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise CheckpointError(f"{folder / name}: is not UTF-8 text") from None


class ClassifierPrompt:
    """The prompt of one checkpoint: turns questions into token ids.

    Args:
        tokenizer: with the label tokens; this object changes its settings, so it must not be shared.
        system: the system text.
        template: of the user's turn; the question replaces ``{question}``.
        max_tokens: bound on the tokens of a whole prompt; a longer question is truncated.

    Raises:
        CheckpointError: the template lacks text around ``{question}``, or the tokenizer does not split at special tokens.
        ConfigError: ``max_tokens`` leaves no room for a question.

    """

    def __init__(self, tokenizer: Tokenizer, *, system: str, template: str, max_tokens: int) -> None:
        head, field, tail = template.lstrip().partition(FIELD)
        if not (field and head.strip() and tail.strip()) or FIELD in tail:
            raise CheckpointError(f"the classifier template must hold {FIELD} once, between other text")
        self._head, self._tail = f"\n\n{head}", tail.rstrip()
        self.tokenizer = tokenizer
        """The tokenizer, with its settings."""
        self.max_tokens = max_tokens
        """Bound on the tokens of a whole prompt."""
        text = f"{BOS}{_header('system')}\n\n{system.strip()}{EOT}{_header('user')}"
        tokenizer.encode_special_tokens = False
        self.prefix = self._ids(text)
        """What every prompt begins with; it ends with a special token."""
        self.suffix = self._ids(SUFFIX)
        """What every prompt ends with; it begins with a special token."""
        self.labels = [_id(tokenizer, name) for name in LABELS]
        """Ids of [[1]]…[[5]]."""
        self.end = _id(tokenizer, EOT)
        """Id of the token that ends an answer."""
        probe = f"{self._head}Why?{self._tail}"
        whole = self._ids(f"{text}{probe}{SUFFIX}")
        self._added = frozenset(tokenizer.get_added_tokens_decoder())
        tokenizer.encode_special_tokens = True
        if whole != self.prefix + self._ids(probe) + self.suffix:
            raise CheckpointError(
                "the tokenizer gives a text other ids than its parts between special tokens have"
            )
        self._room = max_tokens - len(self.prefix) - len(self.suffix)
        least = len(self._ids(self._head + self._tail)) + SMALLEST_QUESTION
        if self._room < least:
            needed = max_tokens - self._room + least
            raise ConfigError("router.options.max_tokens", f"is {max_tokens}; the template needs {needed}")
        self.encode(["".join(token.content for token in tokenizer.get_added_tokens_decoder().values())])

    def encode(self, questions: Sequence[str]) -> list[list[int]]:
        """Return the token ids that follow the prefix, suffix included, for each of B questions.

        Raises:
            CheckpointError: the tokenizer finds a special token in plain text.

        """
        clean = [_clean(question[: self.max_tokens * CHARS_PER_TOKEN]) for question in questions]
        bodies = self.tokenizer.encode_batch(
            [f"{self._head}{question}{self._tail}" for question in clean], add_special_tokens=False
        )
        encoded = []
        for question, body in zip(clean, bodies, strict=True):
            ids = list(body.ids) if len(body) <= self._room else self._cut(question, body.offsets)
            if not self._added.isdisjoint(ids):
                raise CheckpointError(
                    "the tokenizer reads special tokens out of plain text; it can't be used"
                )
            encoded.append(ids + self.suffix)
        return encoded

    def _cut(self, question: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
        """Return the ids of a body that fits: the question is truncated, the template is not."""
        keep = self._room - len(self._ids(self._tail))
        while True:
            question = question[: max(offsets[max(keep, 0)][0] - len(self._head), 0)]
            body = self.tokenizer.encode(f"{self._head}{question}{self._tail}", add_special_tokens=False)
            if len(body) <= self._room:
                return list(body.ids)
            keep -= (
                len(body) - self._room
            )  # The tokens at the cut were merged in another way than in the longer text.
            offsets = body.offsets

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _header(role: str) -> str:
    return f"{HEADER}{role}{HEADER_END}"


def _clean(text: str) -> str:
    """Return the text with lone surrogates, which no tokenizer accepts, as question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
