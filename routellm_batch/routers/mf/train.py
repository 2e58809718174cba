"""Train the matrix factorisation on battles, as RouteLLM does.

Source: arXiv 2406.18665, §4.2, and ``matrix_factorization/train_matrix_factorization.py`` of its repository. Embeddings are
fixed and get Gaussian noise while training; the loss is the binary cross-entropy of the logit δ(winner) − δ(loser), and Adam
with weight decay minimises it. Ties are dropped. The epoch with the lowest loss on battles held out is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from threadpoolctl import threadpool_limits

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.routers.checkpoint import save_checkpoint
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.heads import sigmoid
from routellm_batch.routers.mf.router import CLASSIFIER, MODELS, PROJECTION
from routellm_batch.routers.training.battles import Battles, read_pairs
from routellm_batch.routers.training.request import TrainRequest, file_name
from routellm_batch.routers.training.rows import Source

HELD_OUT = 0.05
"""Share of prompts held out where no row is marked ``dev``."""
RARE = 0.25
"""A model in fewer battles than this part of the most frequent model's is in the pair only if it is named."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Constants of Adam, as its authors recommend."""
Parameters = Mapping[str, Floats]
"""Name of a tensor → its values, as ``mf/router.py`` names them."""


class MfTraining(BaseModel):
    """Settings of the trainer; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(default=128, ge=1)
    """H, width of a model's vector."""
    epochs: int = Field(default=100, ge=1)
    """Passes over the battles, at most."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a lower held-out loss before training stops."""
    lr: float = Field(default=3e-4, gt=0)
    """Learning rate of Adam."""
    weight_decay: float = Field(default=1e-5, ge=0)
    """Strength of the L2 penalty."""
    batch: int = Field(default=64, ge=1)
    """Battles in a step."""
    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the noise on each coordinate of an embedding."""
    strong_model: str | None = None
    """The strong model of the default pair; None is the model that wins most often."""
    weak_model: str | None = None
    """The weak model of the default pair; None is the median model."""


@dataclass(frozen=True, slots=True)
class MfReport:
    """The report of one training."""

    out: str
    """Where the checkpoint is."""
    battles: int
    """Battles trained on, without ties."""
    held_out: int
    """Battles that chose the epoch."""
    epoch: int
    """The epoch that was kept, from 1."""
    loss: float
    """Cross-entropy on the battles held out, in nats; a coin toss has 0.693."""
    accuracy: float
    """Share of battles held out whose winner has the higher δ."""
    models: Sequence[str]
    """Names of the models, by row of P."""
    pair: tuple[str, str]
    """The strong and the weak model that are routed by default."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        return (
            f"{self.battles:,} battles between {len(self.models):,} models; on {self.held_out:,} held out accuracy "
            f"{self.accuracy:.3f}, loss {self.loss:.4f} (a coin toss has 0.5 and 0.693)"
        )


def train_mf(request: TrainRequest) -> MfReport:
    """Train on battles, outcomes or score matrices, and write a checkpoint with RouteLLM's tensor names.

    Raises:
        ConfigError: an unknown option, a model that is in no battle, or a checkpoint at ``out`` already.
        DataError: a file, column or row that can't be used, or nothing to train on.

    """
    options = request.settings().read_options(MfTraining, "mf")
    battles = read_pairs([Source(path) for path in request.paths], seed=request.seed)
    return train_mf_battles(battles, request, options)


def train_mf_battles(
    battles: Battles,
    request: TrainRequest,
    options: MfTraining,
    *,
    name: str = "mf",
    card: Callable[[MfReport, Parameters], str] | None = None,
) -> MfReport:
    """Train as ``train_mf`` does, on battles that were read already.

    Args:
        battles: what to train on; ties are dropped.
        request: where to write, with which embedder and seed.
        options: settings.
        name: the checkpoint's own name.
        card: writes the model card (Markdown) from the report and the parameters; None: ``model_card``.

    Raises:
        ConfigError: a model that is in no battle, or a checkpoint at ``out`` already.
        DataError: too few battles with a winner.

    """
    embedder = get_embedder(request.embedder)
    pair = choose_pair(battles, options.strong_model, options.weak_model)
    X = embedder.embed(battles.prompts).astype(np.float64)  # [P, D]
    held_out = _held_out(battles, request.seed)
    with threadpool_limits(limits=1, user_api="blas"):
        parameters, epoch, loss, accuracy = _fit(battles, X, held_out, options, request)
    decided = battles.support != 0.5
    report = MfReport(
        request.out,
        int((decided & ~held_out).sum()),
        int((decided & held_out).sum()),
        epoch,
        loss,
        accuracy,
        battles.models,
        pair,
    )
    text = (
        card(report, parameters) if card else model_card(name, report, request.paths, options, request.seed)
    )
    fields = {
        "models": list(battles.models),
        "pair": list(pair),
        "trained": _plain(report, options, request.seed),
    }
    tensors = {key: value.astype(np.float32) for key, value in parameters.items()}
    save_checkpoint(request.out, tensors, embedder, router="mf", name=name, card=text, fields=fields)
    return report


def choose_pair(battles: Battles, strong: str | None, weak: str | None) -> tuple[str, str]:
    """Return the strong and the weak model of the default pair: as named, else the model that wins most and the median one.

    Args:
        battles: all battles.
        strong: the named strong model; None where none is named.
        weak: the named weak model; None where none is named.

    Raises:
        ConfigError: a named model is in no battle, or the same one is named twice.

    """
    if strong is not None and strong == weak:
        raise ConfigError("option weak_model", f"is {weak!r}, as strong_model is; name two models")
    for option, name in (("strong_model", strong), ("weak_model", weak)):
        if name is not None and name not in battles.models:
            raise ConfigError(
                f"option {option}", f"no battle of {name!r}; there are: {', '.join(battles.models)}"
            )
    wins, fought = battles.tally()
    often = fought >= RARE * fought.max()  # A win rate of a few battles, or among a few models, says little.
    unnamed = [name not in (strong, weak) for name in battles.models]
    if (often & unnamed).sum() < (strong, weak).count(
        None
    ):  # For example where one model met all the others.
        often[:] = True
    order = [battles.models[n] for n in np.argsort(-wins / fought, kind="stable") if often[n]]
    strong = strong or next(name for name in order if name != weak)
    rest = [name for name in order if name != strong]
    return strong, weak or rest[len(rest) // 2]


def _held_out(battles: Battles, seed: int) -> NDArray[np.bool_]:
    """Return the battles to hold out, bool [N]: those marked, else those of a random share of the prompts."""
    if battles.held_out.any():
        return battles.held_out
    prompts = len(battles.prompts)
    drawn = np.random.default_rng(seed).permutation(prompts)[: max(1, math.ceil(HELD_OUT * prompts))]
    held_out: NDArray[np.bool_] = np.isin(battles.prompt, drawn)
    return held_out


def _fit(
    battles: Battles,
    X: Floats,
    held_out: NDArray[np.bool_],
    options: MfTraining,
    request: TrainRequest,
) -> tuple[Parameters, int, float, float]:
    """Return the parameters of the best epoch, its number, and its loss and accuracy on the battles held out."""
    rng = np.random.default_rng(request.seed)
    winner = np.where(battles.support > 0.5, battles.model_a, battles.model_b)
    loser = np.where(battles.support > 0.5, battles.model_b, battles.model_a)
    decided = battles.support != 0.5
    train, test = np.flatnonzero(decided & ~held_out), np.flatnonzero(decided & held_out)
    if not len(train) or not len(test):
        raise DataError(
            "too few battles with a winner: some must train, some be held out", file=request.paths[0]
        )
    scale = 1 / math.sqrt(X.shape[1])
    parameters: dict[str, Floats] = {
        MODELS: rng.standard_normal((len(battles.models), options.dim)),
        PROJECTION: rng.uniform(-scale, scale, (options.dim, X.shape[1])),
        CLASSIFIER: rng.uniform(-1, 1, (1, options.dim)) / math.sqrt(options.dim),
    }
    adam = _Adam(parameters, options.lr, options.weight_decay)
    best: tuple[Parameters, int, float, float] = (dict(parameters), 0, math.inf, 0.0)
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(train)
        for start in range(0, len(order), options.batch):
            rows = order[start : start + options.batch]
            q = X[battles.prompt[rows]] + options.noise * rng.standard_normal((len(rows), X.shape[1]))
            adam.step(_gradients(parameters, q, winner[rows], loser[rows]))
        logits = _logits(parameters, X[battles.prompt[test]], winner[test], loser[test])
        loss, accuracy = float(np.logaddexp(0, -logits).mean()), float((logits > 0).mean())
        request.progress(f"epoch {epoch}: held-out loss {loss:.4f}, accuracy {accuracy:.3f}")
        if loss < best[2]:
            best = ({key: value.copy() for key, value in parameters.items()}, epoch, loss, accuracy)
        elif epoch - best[1] >= options.patience:
            break
    return best


def _unit(P: Floats) -> tuple[Floats, Floats]:
    """Return the rows of P at unit length, [M, H], and their norms, [M, 1]."""
    norms = np.maximum(np.linalg.norm(P, axis=1, keepdims=True), 1e-12)
    return P / norms, norms


def _logits(parameters: Parameters, q: Floats, winner: Ints, loser: Ints) -> Floats:
    """Return δ(winner) − δ(loser), [B], for embeddings q [B, D]."""
    unit, _ = _unit(parameters[MODELS])
    logits: Floats = ((unit[winner] - unit[loser]) * (q @ parameters[PROJECTION].T)) @ parameters[CLASSIFIER][
        0
    ]
    return logits


def _gradients(parameters: Parameters, q: Floats, winner: Ints, loser: Ints) -> Parameters:
    """Return the gradients of the mean cross-entropy −log σ(δ(winner) − δ(loser))."""
    unit, norms = _unit(parameters[MODELS])
    w2 = parameters[CLASSIFIER][0]
    h = q @ parameters[PROJECTION].T  # [B, H]
    between = unit[winner] - unit[loser]
    g = (sigmoid((between * h) @ w2) - 1)[:, None] / len(q)
    to_models = g * w2 * h
    sums = np.zeros_like(unit)
    np.add.at(sums, winner, to_models)
    np.subtract.at(sums, loser, to_models)
    return {
        MODELS: (sums - unit * (unit * sums).sum(axis=1, keepdims=True)) / norms,
        PROJECTION: (g * w2 * between).T @ q,
        CLASSIFIER: (g * between * h).sum(axis=0, keepdims=True),
    }


class _Adam:
    """Adam with L2 weight decay (Kingma & Ba, 2015), which changes the parameters in place."""

    def __init__(self, parameters: Parameters, lr: float, weight_decay: float) -> None:
        self._parameters, self._lr, self._decay = parameters, lr, weight_decay
        self._first = {key: np.zeros_like(value) for key, value in parameters.items()}
        self._second = {key: np.zeros_like(value) for key, value in parameters.items()}
        self._step = 0

    def step(self, gradients: Parameters) -> None:
        """Take one step on every parameter."""
        self._step += 1
        size = self._lr * math.sqrt(1 - BETA2**self._step) / (1 - BETA1**self._step)
        for key, value in self._parameters.items():
            gradient = gradients[key] + self._decay * value
            first, second = self._first[key], self._second[key]
            first += (1 - BETA1) * (gradient - first)
            second += (1 - BETA2) * (gradient * gradient - second)
            np.subtract(value, size * first / (np.sqrt(second) + EPSILON), out=value)


def _plain(report: MfReport, options: MfTraining, seed: int) -> dict[str, object]:
    figures = {"battles": report.battles, "held_out": report.held_out, "epoch": report.epoch}
    return {**figures, "loss": report.loss, "accuracy": report.accuracy, "seed": seed, **options.model_dump()}


def model_card(
    name: str,
    report: MfReport,
    files: Sequence[str],
    options: MfTraining,
    seed: int,
    *,
    sections: Sequence[str] = (),
) -> str:
    """Return a model card, Markdown.

    Args:
        name: of the checkpoint.
        report: of the training.
        files: paths or URIs of the files trained on.
        options: settings of the training.
        seed: of the training.
        sections: further sections, Markdown.

    """
    names = ", ".join(f"`{file_name(file)}`" for file in files)
    settings = ", ".join(f"{key} {value}" for key, value in options.model_dump().items() if value is not None)
    method = f"""\
RouteLLM's matrix factorisation (arXiv 2406.18665), trained on {report.battles:,} battles with a winner between
{len(report.models)} models. On {report.held_out:,} battles held out (by prompt) its loss is {report.loss:.4f} nats (a coin
toss: 0.6931) and it names the winner of {report.accuracy:.1%}; they chose epoch {report.epoch}."""
    pair = f"The pair that is routed unless the config names another: {report.pair[0]} (strong), {report.pair[1]} (weak)."
    parts = [f"# {name}: weights of the `mf` router", method, pair, f"## Data\n\n{names}"]
    parts += [f"## Settings\n\n{settings}, seed {seed}", *sections]
    return "\n\n".join(parts) + "\n"
