"""Recorded answers, replayed: the last user message selects the answer. The file is read once, at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routellm_batch.core.types import Usage
from routellm_batch.endpoints.simulator.chat import ChatRequest, Decision, draws, text_tokens
from routellm_batch.endpoints.simulator.faults import UNKNOWN_PROMPT
from routellm_batch.endpoints.simulator.spec import ReplaySpec


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded answer."""

    answer: str
    input_tokens: int | None = None
    """As recorded; None where they must be estimated."""
    output_tokens: int | None = None
    """The same for output tokens."""


class ReplayModel:
    """Decides what a replay endpoint replies."""

    def __init__(self, recorded: Mapping[tuple[str | None, str], Recorded], *, by_model: bool) -> None:
        """Keep the answers, (model or None, prompt) → answer; with ``by_model`` the requested model must match."""
        self._recorded = recorded
        self._by_model = by_model

    def recorded(self, prompt: str) -> str | None:
        """Return the whole answer to a prompt, or None, from a file with the answers of a single model."""
        record = self._recorded.get((None, prompt))
        return None if record is None else record.answer

    def decide(self, request: ChatRequest, request_key: str, index: int, attempt: int) -> Decision:
        """Return the recorded answer, cut to the request's maximum, or the fault ``unknown_prompt``."""
        del request_key, index, attempt  # A prompt has the same answer at any time.
        record = self._recorded.get((request.model if self._by_model else None, request.prompt))
        if record is None:
            return Decision(UNKNOWN_PROMPT)
        answer, limit = record.answer, request.max_tokens
        tokens = text_tokens(answer) if record.output_tokens is None else record.output_tokens
        whole = limit is None or tokens <= limit
        if limit is not None and not whole:
            answer = answer[: len(answer) * limit // tokens]
            tokens = limit
        entry = request.input_tokens if record.input_tokens is None else record.input_tokens
        name = draws(0, "replay", request.model, request.prompt)[3]
        return Decision("", answer, "stop" if whole else "length", Usage(entry, 0, tokens, 0), name)


def load_replay(spec: ReplaySpec) -> ReplayModel:
    """Read the recorded answers; rows without an answer are skipped, and of equal prompts the first counts.

    Raises:
        DataError: the file or a column can't be used.

    """
    from routellm_batch.endpoints.simulator.tables import read_columns, texts, whole_numbers

    names = [spec.prompt, spec.answer, spec.model_column, spec.input_tokens, spec.output_tokens]
    table = read_columns(spec.uri, names)
    nothing: list[None] = [None] * table.num_rows
    models = nothing if spec.model_column is None else texts(table, spec.model_column, spec.uri)
    entry = nothing if spec.input_tokens is None else whole_numbers(table, spec.input_tokens, spec.uri)
    out = nothing if spec.output_tokens is None else whole_numbers(table, spec.output_tokens, spec.uri)
    prompts, answers = texts(table, spec.prompt, spec.uri), texts(table, spec.answer, spec.uri)
    recorded: dict[tuple[str | None, str], Recorded] = {}
    for model, prompt, answer, *tokens in zip(models, prompts, answers, entry, out, strict=True):
        if prompt is not None and answer is not None:
            recorded.setdefault((model, prompt), Recorded(answer, *tokens))
    return ReplayModel(recorded, by_model=spec.model_column is not None)
