"""Recorded answers, served again: the last user message finds its answer. One file is read at the start."""

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
    """As recorded; None where it is to be estimated."""
    output_tokens: int | None = None


class ReplayModel:
    """Decides what a replay endpoint replies."""

    def __init__(self, recorded: Mapping[tuple[str | None, str], Recorded], *, by_model: bool) -> None:
        """Take (model or None, prompt) → answer; with ``by_model`` the requested model must match."""
        self._recorded = recorded
        self._by_model = by_model

    def recorded(self, prompt: str) -> str | None:
        """Return the answer to a prompt, whole; None where none is recorded. Of a file of one model."""
        found = self._recorded.get((None, prompt))
        return None if found is None else found.answer

    def decide(self, request: ChatRequest, request_key: str, index: int, attempt: int) -> Decision:
        """Return the recorded answer, cut to the request's maximum, or the fault ``unknown_prompt``."""
        del request_key, index, attempt  # the same prompt has the same answer whenever it comes
        found = self._recorded.get((request.model if self._by_model else None, request.prompt))
        if found is None:
            return Decision(UNKNOWN_PROMPT)
        answer, limit = found.answer, request.max_tokens
        tokens = text_tokens(answer) if found.output_tokens is None else found.output_tokens
        whole = limit is None or tokens <= limit
        if limit is not None and not whole:
            answer = answer[: len(answer) * limit // tokens]
            tokens = limit
        given = request.input_tokens if found.input_tokens is None else found.input_tokens
        name = draws(0, "replay", request.model, request.prompt)[3]
        return Decision("", answer, "stop" if whole else "length", Usage(given, 0, tokens, 0), name)


def load_replay(spec: ReplaySpec) -> ReplayModel:
    """Read the recorded answers; rows without an answer are left out, the first of equal prompts holds.

    Raises:
        DataError: the file or a column can't be used.

    """
    from routellm_batch.endpoints.simulator.tables import read_columns, texts, whole_numbers

    names = [spec.prompt, spec.answer, spec.model_column, spec.input_tokens, spec.output_tokens]
    table = read_columns(spec.uri, names)
    nothing: list[None] = [None] * table.num_rows
    models = nothing if spec.model_column is None else texts(table, spec.model_column, spec.uri)
    given = nothing if spec.input_tokens is None else whole_numbers(table, spec.input_tokens, spec.uri)
    made = nothing if spec.output_tokens is None else whole_numbers(table, spec.output_tokens, spec.uri)
    prompts, answers = texts(table, spec.prompt, spec.uri), texts(table, spec.answer, spec.uri)
    recorded: dict[tuple[str | None, str], Recorded] = {}
    for model, prompt, answer, *tokens in zip(models, prompts, answers, given, made, strict=True):
        if prompt is not None and answer is not None:
            recorded.setdefault((model, prompt), Recorded(answer, *tokens))
    return ReplayModel(recorded, by_model=spec.model_column is not None)
