"""Fine-tune the BERT router: all weights of a Hugging Face encoder, with three classes on top.

The loss is the cross-entropy, minimised by AdamW; the learning rate rises in a short warm-up and then falls linearly. Batch,
steps and rates are RouteLLM's (arXiv 2406.18665, appendix: about 2,000 steps of 16 prompts of 512 tokens, learning rate
1e-5, weight decay .01).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from routellm_batch.core.arrays import Ints
from routellm_batch.core.errors import ConfigError
from routellm_batch.routers.bert.router import LABELS
from routellm_batch.routers.bert.rows import ClassifierRows, read_classifier_rows
from routellm_batch.routers.checkpoint import CARD, create_files, refuse_existing
from routellm_batch.routers.models.batches import by_length
from routellm_batch.routers.models.device import choose_device
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.models.pretrained import TokenIds, load_base, load_token_ids, positions
from routellm_batch.routers.training.request import TrainRequest, file_name

REPORTS = 20
"""Lines of progress in a training."""
WARM_UP = 0.06
"""Share of the steps in which the learning rate rises."""
CLIP = 1.0
"""Greatest norm of a gradient."""
MEASURE_TOKENS = 8192
"""Tokens in a micro-batch of the rows held out."""


class TrainBertOptions(BaseModel):
    """Settings of the trainer of ``bert``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """The encoder to fine-tune: a folder, ``package:NAME`` or ``hub:ORG/NAME@REVISION``."""
    steps: Annotated[int, Field(ge=1)] = 2000
    """Steps of the optimiser."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Prompts in a step."""
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Greatest learning rate."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    max_tokens: Annotated[int, Field(ge=8)] = 512
    """Bound on the tokens of a prompt; a longer prompt is truncated."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is the GPU where there is one."""


@dataclass(frozen=True, slots=True)
class BertTraining:
    """The report of one training."""

    out: str
    """Where the checkpoint is."""
    trained: int
    """Rows trained on."""
    held_out: int
    """Rows held out; none of their prompts is trained on."""
    loss: float
    """Cross-entropy on the rows held out, in nats."""
    accuracy: float
    """Share of the rows held out whose class is the likeliest one."""
    commonest: float
    """Share of the rows held out in the commonest class: the accuracy of always predicting that class."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        return (
            f"{self.trained:,} rows; on {self.held_out:,} held out accuracy {self.accuracy:.3f} "
            f"({self.commonest:.3f} by always saying the commonest class)"
        )


def train_bert(request: TrainRequest) -> BertTraining:
    """Fine-tune a classifier on battles, outcomes or score matrices, and write a checkpoint that the router loads.

    Raises:
        ConfigError: no base is named, an option can't be used, or there is a file at ``out`` already.
        DataError: a file, column or row that can't be used.
        CheckpointError: the base can't be used.

    """
    options = request.settings().read_options(TrainBertOptions, "bert")
    refuse_existing(request.out)
    device = choose_device(options.device, key="option device")
    rows = read_classifier_rows(request.paths, seed=request.seed)
    folder = local_folder(options.base, key="option base")
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)  # The new classifier's weights, and dropout.
        model = load_base(folder, options.base)
        length = min(options.max_tokens, positions(model))
        words = load_token_ids(folder, options.base, model, bound=length, key="option max_tokens")
        model.to(device)
        _fit(model, words, rows, options, request)
    measured = _measure(model, words, rows)
    _refuse_not_finite(measured["loss"])
    request.progress(
        f"held out, {measured['held_out']} rows: loss {measured['loss']:.4f}, accuracy {measured['accuracy']:.3f} "
        f"(commonest class: {measured['commonest']:.3f})"
    )
    report = BertTraining(request.out, int((~rows.held_out).sum()), **measured)
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {label: number for number, label in enumerate(LABELS)}
    _write(request.out, folder, model, _card(report, options, request))
    return report


def _fit(
    model: Any, words: TokenIds, rows: ClassifierRows, options: TrainBertOptions, request: TrainRequest
) -> None:
    used = np.flatnonzero(~rows.held_out).tolist()
    ids = words.encode([rows.prompts[n] for n in used])
    labels = torch.from_numpy(rows.labels[used])
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)
    warm = max(1, round(WARM_UP * options.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warm, (options.steps - step) / max(1, options.steps - warm + 1)),
    )
    every = max(1, options.steps // REPORTS)
    recent: list[float] = []
    model.train()
    for step, batch in enumerate(_batches(len(used), options.batch, options.steps, request.seed), 1):
        inputs = words.padded([ids[n] for n in batch], model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
            logits = model(**inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[batch].to(model.device))
        recent.append(float(loss.detach()))
        _refuse_not_finite(recent[-1])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        if step % every == 0 or step == options.steps:
            request.progress(f"step {step} of {options.steps}: loss {np.mean(recent):.4f}")
            recent.clear()
    model.eval()


def _refuse_not_finite(loss: float) -> None:
    if not np.isfinite(loss):
        raise ConfigError("option lr", "the loss is no finite number any more; make lr smaller")


def _batches(count: int, size: int, steps: int, seed: int) -> Iterator[Ints]:
    """Yield the rows of each step: all rows in a random order, then all again in another."""
    generator = np.random.default_rng(seed)
    left = np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        while len(left) < min(size, count):
            left = np.concatenate([left, generator.permutation(count)])
        yield left[:size]
        left = left[size:]


def _measure(model: Any, words: TokenIds, rows: ClassifierRows) -> dict[str, Any]:
    """Return the report's figures on the rows held out."""
    held_out = np.flatnonzero(rows.held_out).tolist()
    ids = words.encode([rows.prompts[n] for n in held_out])
    labels = rows.labels[held_out]
    logits = torch.empty((len(ids), len(LABELS)), dtype=torch.float64)
    with torch.inference_mode():
        for batch in by_length([len(row) for row in ids], MEASURE_TOKENS):
            logits[batch] = model(**words.padded([ids[n] for n in batch], model.device)).logits.double().cpu()
    target = torch.from_numpy(labels)
    return {
        "held_out": len(ids),
        "loss": float(torch.nn.functional.cross_entropy(logits, target)),
        "accuracy": float((logits.argmax(dim=1) == target).double().mean()),
        "commonest": float(np.bincount(labels).max() / len(labels)),
    }


def _write(out: str, base: Path, model: Any, card: str) -> None:
    """Write the checkpoint's files, the weights last: without them the folder is no checkpoint."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory(prefix="routellm-bert-") as folder:
        model.to("cpu").save_pretrained(folder)
        AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False).save_pretrained(
            folder
        )
        (Path(folder) / CARD).write_text(card, "utf-8")
        files = sorted(Path(folder).iterdir(), key=lambda path: (path.suffix == ".safetensors", path.name))
        create_files(out, ((path.name, path.read_bytes()) for path in files))


def _card(report: BertTraining, options: TrainBertOptions, request: TrainRequest) -> str:
    names = [file_name(uri) for uri in request.paths]
    settings = {**asdict(report), **options.model_dump(), "seed": request.seed}
    del settings["out"]
    table = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
    return (
        "# Weights of the `bert` router\n\n"
        "A sequence classifier of three classes: the strong model wins, a tie, the weak model wins; the score is the "
        "chance of the first. Every weight of the base was fine-tuned with cross-entropy and AdamW.\n\n"
        f"Licence: fill in, after that of the base ({options.base}) and of the data.\n\n"
        f"## Data\n\n{chr(10).join(f'- {name}' for name in names)}\n\n"
        f"## Settings and figures on the rows held out\n\n| | |\n|---|---|\n{table}\n"
    )
