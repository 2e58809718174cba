"""How the shipped ``builtin:knn-v1`` is made: an index of the rows of ``outcome.py``."""

from __future__ import annotations

from routellm_batch.pipeline.recipes.outcome import LICENCES, LIMITS, builtin_sources, measured
from routellm_batch.routers.knn.router import KnnRouter
from routellm_batch.routers.knn.train import KnnReport, model_card, train_knn_sources
from routellm_batch.routers.training.request import TrainRequest, file_name

NAME = "knn-v1"
COMMAND = """\
## Again

No choice was made by a score on the evaluation sets below.

    python jobs/train_router.py --recipe knn-v1 --data DATA --out DIR"""


def train_builtin_knn(data: str, *, out: str, seed: int = 0) -> KnnReport:
    """Make the index ``knn-v1`` and write it with its model card.

    Args:
        data: folder (path or URI) of the training and evaluation files.
        out: a new folder.
        seed: of the bootstrap in the model card; the index itself draws nothing.

    Raises:
        ConfigError: a checkpoint is at ``out`` already.
        DataError: a file is missing or can't be used.

    """
    sources = builtin_sources(data)
    files = [file_name(source.uri) for source in sources]

    def card(report: KnnReport, router: KnnRouter) -> str:
        sections = [COMMAND, measured(data, router, NAME, seed), LICENCES, LIMITS]
        return model_card(NAME, report, files, sections=sections)

    request = TrainRequest([source.uri for source in sources], out, seed=seed)
    return train_knn_sources(sources, request, name=NAME, card=card)
