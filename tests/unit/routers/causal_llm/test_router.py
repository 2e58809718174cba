"""The causal-LLM router: its options, bad checkpoints, user text that looks like markup, and long prompts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [torch] extra is not installed")

from helpers.tiny_causal_llm import SPECIAL, SYSTEM, tiny_llama, tiny_tokenizer, write_tiny  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers.utils import logging  # noqa: E402

from routellm_batch.core.errors import CheckpointError, ConfigError  # noqa: E402
from routellm_batch.core.types import PromptBatch  # noqa: E402
from routellm_batch.routers import make_router  # noqa: E402
from routellm_batch.routers.causal_llm.prompt import LABELS, TEMPLATE, ClassifierPrompt, read_tokenizer  # noqa: E402
from routellm_batch.routers.causal_llm.router import CausalLlmRouter, label_scores  # noqa: E402

Broken = Callable[[Path], object]
"""Breaks one thing in the folder of a checkpoint and a tokenizer."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint and a tokenizer."""
    folder = tmp_path_factory.mktemp("whole")
    write_tiny(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def router(folder: Path, **options: Any) -> CausalLlmRouter:
    """Return the router of such a folder."""
    given = {"tokenizer": str(folder / "tokenizer"), "device": "cpu", **options}
    made = make_router("causal_llm", checkpoint=str(folder / "checkpoint"), options=given)
    assert isinstance(made, CausalLlmRouter)
    return made


def prompt_of(max_tokens: int, template: str = TEMPLATE) -> ClassifierPrompt:
    """Return the prompt with a bound."""
    made = tiny_tokenizer()
    made.add_special_tokens(list(LABELS))
    return ClassifierPrompt(made, system=SYSTEM, template=template, max_tokens=max_tokens)


def shard_with(folder: Path, name: str) -> Path:
    """Return the shard that holds a tensor."""
    index = json.loads((folder / "checkpoint" / "model.safetensors.index.json").read_text())
    return folder / "checkpoint" / str(index["weight_map"][name])


def edit(name: str, change: Callable[[Any], Any]) -> Broken:
    """Replace a tensor; None leaves it out."""

    def broken(folder: Path) -> None:
        path = shard_with(folder, name)
        tensors = load_file(path)
        changed = change(tensors.pop(name))
        save_file(tensors if changed is None else {**tensors, name: changed}, path, {"format": "pt"})

    return broken


def config(**fields: Any) -> Broken:
    """Change fields of ``config.json``."""

    def broken(folder: Path) -> None:
        path = folder / "checkpoint" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return broken


def retokenise(add: list[str]) -> Broken:
    """Give the tokenizer further special tokens."""

    def broken(folder: Path) -> None:
        made = tiny_tokenizer()
        made.add_special_tokens(add)
        made.save(str(folder / "tokenizer" / "tokenizer.json"))

    return broken


def truncate(folder: Path) -> None:
    """Cut a shard short."""
    path = shard_with(folder, "model.norm.weight")
    path.write_bytes(path.read_bytes()[:-100])


def no_specials(folder: Path) -> None:
    """Take the special tokens from the tokenizer."""
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "added_tokens": []}))


NORM = "model.layers.1.input_layernorm.weight"
BROKEN: dict[str, tuple[Broken, str]] = {
    "tensor missing": (edit(NORM, lambda _: None), f"tensor {NORM} is missing"),
    "head missing": (edit("lm_head.weight", lambda _: None), "tensor lm_head.weight is missing"),
    "wrong shape": (edit(NORM, lambda t: torch.cat([t, t])), "can't be loaded|has another shape"),
    "not a number": (
        edit(NORM, lambda t: t * float("nan")),
        f"tensor {NORM} holds a number that is not finite",
    ),
    "truncated": (truncate, "can't be loaded"),
    "shard gone": (lambda f: shard_with(f, NORM).unlink(), "can't be loaded"),
    "no config": (lambda f: (f / "checkpoint" / "config.json").unlink(), "holds no config.json"),
    "damaged config": (
        lambda f: (f / "checkpoint" / "config.json").write_text("{"),
        "config.json is damaged",
    ),
    "other model": (config(model_type="bert"), "model_type 'bert'"),
    "other vocabulary": (config(vocab_size=999), "the model's last five are 994…998"),
    "no system text": (lambda f: (f / "checkpoint" / "system_ft_v5.txt").unlink(), "option system_prompt"),
    "no field": (
        lambda f: (f / "checkpoint" / "classifier_ft_v5.txt").write_text("Hm"),
        "must hold {question}",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer" / "tokenizer.json").unlink(), "option tokenizer"),
    "damaged tokenizer": (lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{"), "is damaged"),
    "no tokenizer at all": (
        lambda f: (f / "tokenizer" / "tokenizer.json").write_text("{}"),
        "is no tokenizer",
    ),
    "no special tokens": (no_specials, "has no special token <|begin_of_text|>"),
    "one token too many": (retokenise(["<|more|>"]), "not the tokenizer that it was trained with"),
    "three labels": (retokenise(["[[1]]", "[[2]]", "[[3]]"]), "has only"),
    "too many tokens": (retokenise([*LABELS, "<|more|>"]), "the model has only"),
    "text is not UTF-8": (
        lambda f: (f / "checkpoint" / "system_ft_v5.txt").write_bytes(b"\xff"),
        "not UTF-8",
    ),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_checkpoints_are_refused(folder: Path, name: str) -> None:
    """Whatever is wrong with the files, the error says what, and nothing is filled up at random."""
    break_it, problem = BROKEN[name]
    break_it(folder)
    with pytest.raises(CheckpointError, match=problem):
        router(folder)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threshold": 4}, "router.options.threshold: is no option of router 'causal_llm'"),
        ({"score_threshold": 1}, "router.options.score_threshold"),
        ({"max_tokens": 100}, "router.options.max_tokens: is 100; the template needs"),
        ({"max_tokens": 513}, "router.options.max_tokens: is 513; the model reads 512"),
        ({"system_prompt": "no/such.txt"}, "router.options.system_prompt: no/such.txt: no such file"),
        ({"precision": "int8"}, "router.options.precision"),
    ],
)
def test_bad_options_are_refused(whole: Path, options: dict[str, Any], problem: str) -> None:
    """An option that is unknown, or a value that it can't have, is named."""
    with pytest.raises(ConfigError) as caught:
        router(whole, **options)
    assert problem in str(caught.value)


def test_a_checkpoint_is_needed() -> None:
    """There are no weights of its own."""
    with pytest.raises(ConfigError, match="router.checkpoint"):
        make_router("causal_llm")


def test_a_gpu_that_is_not_there_is_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for a GPU where there is none, it does not fall back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="router.options.device: is cuda"):
        router(whole, device="cuda")


def test_an_unusable_logit_is_no_score() -> None:
    """A logit that is not a number raises."""
    with pytest.raises(CheckpointError, match="not a number"):
        label_scores(np.array([[0, 0, np.nan, 0, 0]]), 4)


def test_loading_leaves_the_librarys_logging_alone(whole: Path) -> None:
    """What other code hears of transformers is as before."""
    before = logging.get_verbosity()
    router(whole)
    assert logging.get_verbosity() == before


def test_user_text_holds_no_special_tokens(whole: Path) -> None:
    """Special tokens, written out in a question, are plain letters."""
    prompt = router(whole).prompt
    added = {*prompt.tokenizer.get_added_tokens_decoder()}
    questions = ["".join([*SPECIAL, *LABELS]), *SPECIAL, *LABELS, f"x {SPECIAL[-1]}\n\nyz[[1]]"]
    bodies = [row[: -len(prompt.suffix)] for row in prompt.encode(questions)]
    assert all(added.isdisjoint(body) for body in bodies)
    texts = [prompt.tokenizer.decode(body, skip_special_tokens=False) for body in bodies]
    assert texts == [f"\n\n[Question]\n{question}\n\nPrediction:" for question in questions]


def test_a_saved_tokenizer_with_labels_is_taken(folder: Path) -> None:
    """Five label tokens that are there already are used, wherever they are."""
    before = router(folder).logits(["Why?"])
    retokenise(list(LABELS))(folder)
    assert np.array_equal(before, router(folder).logits(["Why?"]))


def test_a_tokenizer_that_reads_markup_out_of_text_is_refused(folder: Path) -> None:
    """Where a special token is in the vocabulary too, plain text could become it."""
    path = folder / "tokenizer" / "tokenizer.json"
    fields = json.loads(path.read_text())
    special = next(token for token in fields["added_tokens"] if token["content"] == SPECIAL[1])
    special["content"] = "é"  # ``ignore_merges`` takes a whole word of the vocabulary as it is.
    fields["model"]["vocab"]["Ã©"] = special["id"]
    path.write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="out of plain text"):
        router(folder)


@pytest.mark.parametrize(
    "question", ["word " * 300, "長" * 1000, "\n\n" * 400, " " * 4096, "aé😀" * 400, "[" * 2000]
)
def test_long_questions_lose_their_tail_only(question: str) -> None:
    """A prompt keeps to its bound, and the template is whole on both sides of what is left of the question."""
    prompt = prompt_of(len(prompt_of(512).prefix) + 60)
    (row,) = prompt.encode([question])
    text = prompt.tokenizer.decode(row[: -len(prompt.suffix)], skip_special_tokens=False)
    kept = text.removeprefix("\n\n[Question]\n").removesuffix("\n\nPrediction:")
    assert row[-len(prompt.suffix) :] == prompt.suffix
    assert prompt.max_tokens - 4 <= len(prompt.prefix) + len(row) <= prompt.max_tokens
    assert (len(kept), question[: len(kept)]) == (len(text) - 26, kept)


def test_prompts_are_cut_at_the_models_own_context(tmp_path: Path) -> None:
    """A model that reads 4,096 tokens is given as many, and one that reads 512 no more."""
    for positions in (512, 4096):
        folder = tmp_path / str(positions)
        folder.mkdir()
        write_tiny(folder)
        config(max_position_embeddings=positions)(folder)
        made = router(folder)
        (row,) = made.prompt.encode(["why " * 5000])
        assert positions == made.prompt.max_tokens
        assert positions - 4 <= len(made.prompt.prefix) + len(row) <= positions


def test_long_prompts_need_no_mask(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch beyond the largest mask computes the prefix with each row, and the logits are the same."""
    import routellm_batch.routers.causal_llm.router as module

    made, texts = router(whole, batch_tokens=600), ["Why? " * n for n in (1, 2, 60)]
    expected = made.logits(texts)
    monkeypatch.setattr(module, "MASK_ENTRIES", 250**2)
    forward, shared = module.last_states, []

    def watched(model: Any, rows: Any, prefix: Any, ids: Any) -> Any:
        shared.append(prefix is not None)
        return forward(model, rows, prefix, ids)

    monkeypatch.setattr(module, "last_states", watched)
    assert np.allclose(expected, made.logits(texts), atol=1e-5)
    assert {True, False} == set(shared)


def test_a_template_with_markup_of_its_own_is_refused() -> None:
    """Ids of a template that is not plain text would not be those of the whole text."""
    with pytest.raises(CheckpointError, match="other ids than its parts"):
        prompt_of(512, "[[1]] {question} ok")


def test_the_cached_prefix_is_left_as_it_was(whole: Path) -> None:
    """Scoring writes nothing into what batches share."""
    made = router(whole)
    assert made._prefix is not None
    before = [(layer.keys.clone(), layer.values.clone()) for layer in made._prefix.layers]
    made.score(PromptBatch([0, 1], ["One?", "And a longer one, of more words?"]))
    after = [(layer.keys, layer.values) for layer in made._prefix.layers]
    assert all(
        torch.equal(a, b) for x, y in zip(before, after, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_micro_batches_are_halved_when_memory_runs_out(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that holds only three rows at a time gives the same logits."""
    made = router(whole)
    texts = [f"Question {n}? " + "why " * n for n in range(11)]
    expected = made.logits(texts)
    import routellm_batch.routers.causal_llm.router as module

    forward = module.last_states

    def small(model: Any, rows: Any, *rest: Any) -> Any:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("3 rows")
        return forward(model, rows, *rest)

    monkeypatch.setattr(module, "last_states", small)
    assert np.allclose(made.logits(texts), expected, atol=1e-5)


def test_precision_bfloat16_is_near(whole: Path) -> None:
    """In bfloat16 scores are near those of float32."""
    batch = PromptBatch(range(5), [f"Question {n}?" for n in range(5)])
    assert np.abs(router(whole, precision="bfloat16").score(batch) - router(whole).score(batch)).max() < 0.05


def test_only_the_tokenizer_is_looked_for(folder: Path, tmp_path: Path) -> None:
    """A tokenizer's folder needs no weights, and the tiny model's vocabulary ends with the labels."""
    words = tmp_path / "words"
    words.mkdir()
    shutil.copy(folder / "tokenizer" / "tokenizer.json", words)
    made = router(folder, tokenizer=str(words))
    size = tiny_llama(made._model.config.vocab_size).config.vocab_size
    assert made.prompt.labels == list(range(size - 5, size))
    assert read_tokenizer(words, size).get_vocab_size() == size
