"""Train the causal-LLM classifier by RouteLLM's recipe: all weights, AdamW, the loss on the answer's two tokens.

The recipe (arXiv 2406.18665, appendix): about 2,000 steps of 8 prompts of at most 2,048 tokens at a learning rate of
1e-6; the classes are balanced by undersampling. An answer is ``[[k]]<|eot_id|>``. Weights and AdamW's two moments are
kept in float32 (16 bytes a parameter with the gradient); on a GPU the passes are computed in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import LlamaForCausalLM

from routellm_batch.core.arrays import Ints
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.metrics import Ranking, apgr_interval
from routellm_batch.routers.causal_llm.checkpoint import grow, load_llama, read_config, write_folder
from routellm_batch.routers.causal_llm.prompt import (
    SYSTEM_FILE,
    TEMPLATE,
    TEMPLATE_FILE,
    ClassifierPrompt,
    read_text,
    read_tokenizer,
)
from routellm_batch.routers.causal_llm.router import (
    BATCH_TOKENS,
    CausalLlmRouter,
    label_scores,
    system_text,
)
from routellm_batch.routers.causal_llm.rows import LabelledRows, balanced, read_labelled
from routellm_batch.routers.checkpoint import refuse_existing
from routellm_batch.routers.models.batches import by_length
from routellm_batch.routers.models.device import choose_device
from routellm_batch.routers.models.locate import local_folder
from routellm_batch.routers.training.request import TrainRequest, file_name, gain_text

SYSTEM = """\
[Instruction]
Predict how good a small language model's answer to the question below will be, from [[1]] to [[5]].
[[5]] is a correct, complete and helpful answer; [[4]] is a good one with small flaws; [[3]] is a mediocre one;
[[2]] is a poor one; [[1]] is wrong or of no use. Hard questions, rare knowledge and long reasoning make it worse.
Reply with the prediction only."""
"""The system text where neither the option nor the base model gives one."""
THRESHOLD = 4
"""Points of a weak answer that is good enough, in the figures that are measured."""
MAX_TOKENS = 2048
"""Tokens of a prompt that RouteLLM's classifiers were trained on (arXiv 2406.18665, appendix)."""
LOG_STEPS = 20
"""Steps between two lines of progress."""


class CausalLlmTraining(BaseModel):
    """Settings of the trainer of ``causal_llm``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """A Llama to start from: a folder, or ``hub:ORG/NAME@REVISION``."""
    tokenizer: str | None = None
    """A folder or ``hub:ORG/NAME@REVISION`` with its tokenizer; None: the base's own folder."""
    system_prompt: str | None = None
    """A text file; None is the base model's own, or ``SYSTEM``."""
    lr: Annotated[float, Field(gt=0)] = 1e-6
    """Learning rate of AdamW, constant."""
    batch: Annotated[int, Field(ge=1)] = 8
    """Prompts in a step."""
    steps: Annotated[int, Field(ge=1)] = 2000
    """Steps of the optimiser."""
    max_tokens: Annotated[int, Field(ge=16)] = MAX_TOKENS
    """Bound on the tokens of a whole prompt; a longer question is truncated."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW."""
    balance: bool = True
    """Undersample, so that each of the points that occur is as frequent as the rarest."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the prompts to hold out, where the data marks none."""
    batch_tokens: Annotated[int, Field(ge=16)] | None = None
    """Bound on the tokens of one pass; a step may take several passes. None: a quarter of the router's bound."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is the GPU where there is one."""


@dataclass(frozen=True, slots=True)
class CausalTrained:
    """The report of one training."""

    out: str
    """Where the checkpoint is."""
    trained: int
    """Rows trained on, after balancing."""
    held_out: int
    """Rows that the figures are measured on."""
    loss_before: float
    """Loss of the answer's two tokens on the rows held out, in nats a token, before training."""
    loss: float
    """The same after training."""
    accuracy: float
    """Share of the rows held out whose points are the likeliest of the five."""
    apgr: float
    """APGR of the router on the rows held out, at the deciles; NaN where the strong model gains nothing."""
    apgr_ci: tuple[float, float]
    """Its 95 % bootstrap interval."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        return (
            f"{self.trained:,} rows; on {self.held_out:,} held out loss {self.loss_before:.4f} → {self.loss:.4f}, "
            f"{gain_text(self.apgr)}"
        )


def train_causal_llm(request: TrainRequest) -> CausalTrained:
    """Fine-tune a Llama on outcomes, score matrices or battles, and write a checkpoint; ``rows.py`` explains the files.

    Raises:
        ConfigError: no base is named, an option can't be used, or there is a file at ``out`` already.
        DataError: a file, column or row that can't be used.
        CheckpointError: the base model can't be used.

    """
    if "base" not in request.options:
        raise ConfigError(
            "router.options.base", "name the Llama to start from: a folder, or hub:ORG/NAME@REVISION"
        )
    options = request.settings().read_options(CausalLlmTraining, "causal_llm")
    refuse_existing(request.out)
    rows = read_labelled(request.paths, held_out_share=options.held_out, seed=request.seed)
    used, tested = np.flatnonzero(~rows.held_out), np.flatnonzero(rows.held_out)
    if not (len(used) and len(tested)):
        raise DataError(
            "at least two distinct prompts are needed, one of them held out", file=request.paths[0]
        )
    if options.balance:
        used = balanced(used, rows.points, seed=request.seed)
    texts, classifier = _classifier(options, request.seed)
    answers = [classifier.answer(prompt, int(k)) for prompt, k in zip(rows.prompts, rows.points, strict=True)]
    before = classifier.loss([answers[n] for n in tested])
    classifier.fit([answers[n] for n in used], options, request)
    after = classifier.loss([answers[n] for n in tested])
    measured = _measured(classifier, rows, tested, request.seed)
    trained = CausalTrained(request.out, len(used), len(tested), before, after, **measured)
    request.progress(f"held out: loss {before:.4f} → {after:.4f}, accuracy {trained.accuracy:.3f}")
    card = _card(trained, options, request, rows.points[used])
    write_folder(request.out, classifier.model, classifier.prompt.tokenizer, texts, card)
    return trained


def _measured(classifier: Classifier, rows: LabelledRows, tested: Ints, seed: int) -> dict[str, Any]:
    classifier.model.eval()
    router = CausalLlmRouter(classifier.model, classifier.prompt, batch_tokens=classifier.batch_tokens)
    logits = router.logits([rows.prompts[n] for n in tested])
    gain, ranking = rows.gain[tested], Ranking(label_scores(logits, THRESHOLD))
    return {
        "accuracy": float(np.mean(1 + logits.argmax(axis=1) == rows.points[tested])),
        "apgr": float(ranking.apgr_deciles(gain)),
        "apgr_ci": apgr_interval([ranking], gain, seed=seed),
    }


class Classifier:
    """A Llama while it is trained.

    Args:
        model: with float32 weights.
        prompt: makes its token ids.
        batch_tokens: bound on tokens of one pass, padding included.

    """

    def __init__(self, model: LlamaForCausalLM, prompt: ClassifierPrompt, batch_tokens: int) -> None:
        self.model, self.prompt, self.batch_tokens = model, prompt, batch_tokens

    def answer(self, question: str, points: int) -> list[int]:
        """Return the token ids of a prompt and its answer, the answer's two tokens last.

        Args:
            question: the prompt.
            points: 1 to 5.

        """
        (row,) = self.prompt.encode([question])
        return [*self.prompt.prefix, *row, self.prompt.labels[points - 1], self.prompt.end]

    def passes(self, rows: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """Yield the loss of the answers' two tokens, summed over a micro-batch, in nats; one after another.

        Args:
            rows: token ids of prompts and their answers.

        """
        device = self.model.device
        for batch in by_length([len(row) for row in rows], self.batch_tokens):
            longest = max(len(rows[n]) for n in batch)
            ids = torch.tensor([[*rows[n], *[0] * (longest - len(rows[n]))] for n in batch]).to(device)
            ends = torch.tensor([len(rows[n]) for n in batch]).to(device)
            at = torch.stack([ends - 3, ends - 2], dim=1)  # [B, 2], the positions that predict label and end.
            # Padding is on the right, and a token attends only to what is left of it.
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                states = self.model.model(input_ids=ids, use_cache=False).last_hidden_state
                each = torch.arange(len(batch), device=device)[:, None]
                logits = self.model.lm_head(states[each, at]).float()  # [B, 2, V]
            target = ids[each, at + 1]
            yield torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")

    def loss(self, rows: Sequence[Sequence[int]]) -> float:
        """Return the mean loss of the answers' tokens, in nats a token, of rows of token ids."""
        self.model.eval()
        with torch.no_grad():
            return sum(float(part) for part in self.passes(rows)) / (2 * len(rows))

    def fit(self, rows: Sequence[Sequence[int]], options: CausalLlmTraining, request: TrainRequest) -> None:
        """Train all weights; each pass over the rows has a new random order.

        Args:
            rows: token ids of prompts and their answers.
            options: settings of the training.
            request: its seed and its progress function are used.

        """
        rng = np.random.default_rng(request.seed)
        self.model.train().requires_grad_(requires_grad=True)
        optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.lr, weight_decay=options.weight_decay
        )
        order: list[int] = []
        for step in range(1, options.steps + 1):
            while len(order) < options.batch:
                order += rng.permutation(len(rows)).tolist()
            batch, order = [rows[n] for n in order[: options.batch]], order[options.batch :]
            total = 0.0
            optimiser.zero_grad(set_to_none=True)
            for part in self.passes(batch):
                mean = part / (2 * len(batch))
                mean.backward()
                total += float(mean.detach())
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimiser.step()
            if step % LOG_STEPS == 0 or step == options.steps:
                request.progress(f"step {step:,} of {options.steps:,}: loss {total:.4f}")
        self.model.requires_grad_(requires_grad=False)


def _classifier(options: CausalLlmTraining, seed: int) -> tuple[dict[str, str], Classifier]:
    """Return the texts of the checkpoint's files, and the model with room for the five labels."""
    torch.manual_seed(seed)
    device = choose_device(options.device, key="router.options.device")
    folder = local_folder(options.base, key="router.options.base")
    config = read_config(folder, options.base)
    words = (
        local_folder(options.tokenizer, key="router.options.tokenizer", weights=False)
        if options.tokenizer is not None
        else folder
    )
    tokenizer = read_tokenizer(words, None)
    model = load_llama(folder, options.base, config, dtype=torch.float32, device=device)
    grow(model, tokenizer, options.base)
    if options.system_prompt is None:
        system = read_text(folder, SYSTEM_FILE) or SYSTEM
    else:
        system = system_text(options.system_prompt, folder, options.base)
    template = read_text(folder, TEMPLATE_FILE) or TEMPLATE
    bound = min(options.max_tokens, config.max_position_embeddings - 2)  # Two are for the answer.
    prompt = ClassifierPrompt(tokenizer, system=system, template=template, max_tokens=bound)
    tokens = options.batch_tokens or BATCH_TOKENS[device.type] // 4  # Training keeps every layer's states.
    return {SYSTEM_FILE: system, TEMPLATE_FILE: template}, Classifier(model, prompt, tokens)


def _card(trained: CausalTrained, options: CausalLlmTraining, request: TrainRequest, points: Ints) -> str:
    files = ", ".join(file_name(path) for path in request.paths)
    counts = ", ".join(f"{k}: {np.count_nonzero(points == k):,}" for k in range(1, 6))
    recipe = {
        **options.model_dump(exclude={"base", "tokenizer", "system_prompt", "device"}),
        "seed": request.seed,
    }
    low, high = trained.apgr_ci
    return f"""\
# Weights of the `causal_llm` router

A Llama that predicts how good the weak model's answer will be, [[1]] to [[5]]; score = 1 − P([[4]]) − P([[5]]).

- Licence: (fill in; the licences of the base model and of the data both count)
- Base model: {Path(options.base).name or options.base}
- Data: {files}; {trained.trained:,} rows trained on (points {counts}), {trained.held_out:,} held out by prompt
- Recipe: all weights, AdamW with constant learning rate, gradient norm at most 1, loss on `[[k]]<|eot_id|>` only

| held out | |
|---|---:|
| loss before, nats a token | {trained.loss_before:.4f} |
| loss | {trained.loss:.4f} |
| accuracy of five | {trained.accuracy:.3f} |
| APGR at the deciles (95 % interval) | {trained.apgr:.3f} ({low:.3f} – {high:.3f}) |

{"".join(f"- `{key}`: {value}{chr(10)}" for key, value in recipe.items())}"""
