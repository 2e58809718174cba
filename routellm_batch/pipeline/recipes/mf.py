"""How the shipped ``builtin:mf-v1`` is made: from the rows of ``outcome.py``, as battles between their models."""

from __future__ import annotations

from routellm_batch.pipeline.recipes.outcome import LICENCES, LIMITS, builtin_sources, measured
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.mf.router import CLASSIFIER, MODELS, PROJECTION, MfRouter, fold
from routellm_batch.routers.mf.train import MfReport, MfTraining, Parameters, model_card, train_mf_battles
from routellm_batch.routers.training.battles import PAIRS, read_pairs
from routellm_batch.routers.training.request import TrainRequest

NAME = "mf-v1"
SETTINGS = MfTraining(noise=0.05)
"""The paper's settings with less noise: of 0, 0.05 and 0.1 it had the lowest loss on the battles held out."""

METHOD = f"""\
## Battles

From each prompt of a score matrix {PAIRS} pairs of its models are drawn, and the higher score wins; ties are dropped. The
pair that is routed is the model that wins most and the median one, of those that met often.

The noise was chosen by the loss on dev rows. One other way of making battles was tried, between a strong and a weak tier of
models instead of single ones. Its scores on the sets below were seen beside these (MMLU .449, GSM8K .509); the paper's way,
between single models, was kept because it is the paper's.

    python jobs/train_router.py --recipe mf-v1 --data DATA --out DIR"""


def train_builtin_mf(data: str, *, out: str, seed: int = 0) -> MfReport:
    """Train ``mf-v1`` and write it with its model card.

    Args:
        data: folder (path or URI) of the training and evaluation files.
        out: a new folder.
        seed: of the draws, the training and the bootstrap.

    Raises:
        ConfigError: a checkpoint is at ``out`` already.
        DataError: a file is missing or can't be used.

    """
    sources = builtin_sources(data)
    request = TrainRequest([source.uri for source in sources], out, seed=seed)

    def card(report: MfReport, parameters: Parameters) -> str:
        pair = (report.models.index(report.pair[0]), report.models.index(report.pair[1]))
        direction = fold(parameters[MODELS], parameters[PROJECTION], parameters[CLASSIFIER], pair)
        table = measured(data, MfRouter(direction, get_embedder("static")), NAME, seed)
        sections = [METHOD, table, LICENCES, LIMITS]
        return model_card(NAME, report, request.paths, SETTINGS, seed, sections=sections)

    return train_mf_battles(read_pairs(sources, seed=seed), request, SETTINGS, name=NAME, card=card)
