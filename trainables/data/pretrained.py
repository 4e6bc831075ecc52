"""Pretrained encoders of Hugging Face's: where they lie, and how to read them without starting a thread."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from trainables.data.download import MissingDataError

PACKAGE = "package:"


def place_of(model: str) -> str:
    """Find the folder of a model; what is no folder here is a name on the hub.

    `package:NAME/FOLDER` is a folder of an installed package; it is found without importing that.
    """
    if model.startswith(PACKAGE):
        name, _, inner = model.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise MissingDataError(f"model must be in an installed package, but there is no {name!r}. pip install it")
        return str(Path(next(iter(spec.submodule_search_locations))) / inner)
    folder = Path(model).expanduser()
    return str(folder) if folder.is_dir() else model


@functools.cache
def config(model: str) -> Any:
    """Read the shape of a model."""
    return _read(model, lambda place: _transformers().AutoConfig.from_pretrained(place))


@functools.cache
def body(model: str) -> nn.Module:
    """Read a model without its head; the one that is returned is shared, so copy it."""
    return _bare(_read(model, lambda place: _transformers().AutoModel.from_pretrained(place)))


def random_body(model: str) -> nn.Module:
    """Make a model of the same shape with random weights."""
    return _bare(_transformers().AutoModel.from_config(config(model)))


def tokenizer(model: str) -> Any:
    """Read the tokenizer of a model."""
    return _read(model, lambda place: _transformers().AutoTokenizer.from_pretrained(place))


def takes_text(model: str) -> bool:
    """Tell whether a model takes tokens; else it takes images. Raises MissingDataError if it takes neither."""
    known = config(model)
    if not hasattr(known, "vocab_size") and not hasattr(known, "num_channels"):
        raise MissingDataError(f"model must be an encoder of text or of images, but {model!r} is a {known.model_type}")
    return hasattr(known, "vocab_size")


def image_statistics(model: str) -> tuple[list[float], list[float]]:
    """Read with what mean and standard deviation a model's images were normalized; a half where nothing is said."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        known, _ = ImageProcessingMixin.get_image_processor_dict(place_of(model))
    except OSError:  # no preprocessor_config.json
        known = {}
    channels = config(model).num_channels
    return known.get("image_mean") or [0.5] * channels, known.get("image_std") or [0.5] * channels


def width(body: nn.Module) -> int:
    """Tell how many numbers a body gives for each token or place."""
    known: Any = body.config
    return known.hidden_size if hasattr(known, "hidden_size") else known.hidden_sizes[-1]


def _bare(model: Any) -> nn.Module:
    """Leave out a pooler that has weights: the classifier pools by itself, and they would get no gradients."""
    pooler = getattr(model, "pooler", None)
    if pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None
    return model.float()


def _read(model: str, read: Callable[[str], Any]) -> Any:
    place = place_of(model)
    try:
        return read(place)
    except (OSError, ValueError) as error:
        absent = "" if Path(place).is_dir() else f"there is no folder {Path(place).absolute()}, and "
        raise MissingDataError(
            f"model must be a folder that save_pretrained wrote, {PACKAGE}NAME/FOLDER of an installed package, or a "
            f"name on the hub, but got {model!r}: {absent}{str(error).splitlines()[0]} Where there is a network, "
            f"AutoModel.from_pretrained(NAME).save_pretrained(FOLDER), and the same with AutoTokenizer, makes a folder "
            f"that can be given here."
        ) from error


@functools.cache
def _transformers() -> Any:
    """Import `transformers` so that it starts no thread: trials are forked from the process that calls this."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_DEACTIVATE_ASYNC_LOAD", "1")
    try:
        import transformers
    except ModuleNotFoundError as error:
        fix = "pip install -c constraints.txt -e '.[hf]'"
        raise MissingDataError(f"a pretrained model needs Hugging Face's library. {fix}") from error
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers
