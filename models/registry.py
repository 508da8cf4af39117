"""Every kind of model by name; a kind's module is imported when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from models.contract import Compute, Recommender
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from models.torch_recommender import TorchRecommender

KINDS: Mapping[str, str] = {
    "amf": "models.amf:AMF",
    "transformer": "models.transformer:Transformer",
    "transformers4rec": "models.transformers4rec_model:Transformers4Rec",
}
"""kind -> module:class."""


def model_class(kind: str) -> type[TorchRecommender]:
    """The class of `kind`; raises ValueError for a kind that does not exist."""
    if kind not in KINDS:
        raise ValueError(f"there is no model kind {kind!r}; there are {', '.join(sorted(KINDS))}")
    module, name = KINDS[kind].split(":")
    found: type[TorchRecommender] = getattr(importlib.import_module(module), name)
    return found


def create(kind: str, vocabulary: Vocabulary, compute: Compute, **config: Any) -> Recommender:
    """An untrained model; `config` are fields of the kind's config class, ValueError names one that is wrong."""
    return model_class(kind).create(vocabulary, compute, **config)


def restore(
    kind: str,
    vocabulary: Vocabulary,
    config: dict[str, Any],
    tensors: Mapping[str, npt.NDArray[Any]],
    compute: Compute,
) -> Recommender:
    """The trained model that `config` and `tensors` came from."""
    return model_class(kind).restore(vocabulary, config, tensors, compute)
