"""What a call's result means: a record for the ledger, and whether the model is asked again. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from routellm_batch.answers.labels import read_label
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.job import LabelConfig, PartTokensConfig
from routellm_batch.core.types import ErrorKind
from routellm_batch.endpoints.calls import CallResult, History, Request
from routellm_batch.stages.call.labels import ask_again
from routellm_batch.stages.call.requests import USUAL, Call, follow_up
from routellm_batch.storage.ledger.record import CallRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pending:
    """A row on its way."""

    call: Call
    """The row and its first request."""
    request: Request
    """What is sent next: the call's own request, or one that asks again."""
    history: History = History()
    """Of this request's sends so far."""
    reasks: int = 0
    """Times that the model was asked again for a label."""
    asks_again: bool = False
    """What is sent next asks for a usable label, or was not sent before: it is no retry."""


def next_question(
    label: LabelConfig | None,
    endpoint: EndpointConfig,
    one: Pending,
    record: CallRecord,
    bounds: PartTokensConfig = USUAL,
) -> Request | None:
    """Return the request that asks a model again for a label that can be used; None if it is not asked.

    Args:
        label: what the job's labels are; None where it asks for none.
        endpoint: that answered.
        one: the row.
        record: what its answer came to.
        bounds: the most tokens of a part of its chat that is no text.

    """
    if label is None or record.error_kind != ErrorKind.INVALID_LABEL or one.reasks >= label.reask:
        return None
    answer = record.answer or ""
    try:
        problem = read_label(label, answer).problem or ""
        return follow_up(endpoint, one.request, answer, ask_again(label, problem), bounds)
    except Exception:  # noqa: BLE001 - the answer is paid for, whatever its text does to the reader
        return None


def record_of(call: Call, result: CallResult, label: LabelConfig | None) -> CallRecord:
    """Return what the ledger keeps of a call's result; ``label`` says what labels are, None where there are none.

    It raises nothing, as what was paid for must reach the ledger: an answer that a reader fails on has no valid label.
    """
    reply, error, kind, tag = result.reply, result.error, result.error.kind if result.error else None, None
    if reply is not None:
        kind = reply.failure
        if kind is None and not reply.answer.strip():
            kind = ErrorKind.EMPTY_ANSWER
        if kind is None and label is not None:
            tag = _label_in(reply.answer, label)
            kind = ErrorKind.INVALID_LABEL if tag is None else None
    unsent = result.unsent or result.again_at_s is not None
    return CallRecord(
        row=call.row,
        route=call.route,
        status="unsent" if unsent else "failed" if kind is not None else "ok",
        request_key=call.request.key,
        error_kind=None if kind is None else str(kind),
        answer=reply.answer if reply else None,
        label=tag,
        finish_reason=reply.finish_reason if reply else None,
        model=reply.model if reply else None,
        attempts=result.attempts,
        usage=result.usage,
        cost_nano=result.cost_nano,
        presumed_nano=result.presumed_nano,
        latency_s=result.latency_s,
        counted=reply is None or reply.usage is not None,
        detail=error.detail if error else None,
    )


def _label_in(answer: str, label: LabelConfig) -> str | None:
    """Return the label of an answer; None where it has none, or can't be read."""
    try:
        return read_label(label, answer).label
    except Exception as error:  # noqa: BLE001 - see ``record_of``
        log.warning(
            "an answer can't be read as a label (%s); it counts as an invalid one", type(error).__name__
        )
        return None
