"""Other spellings, and other libraries' words, for the names in a config, where they are unambiguous."""

from __future__ import annotations

from collections.abc import Iterable

MAX_WORD_LENGTH = 100
"""The longest text that is compared with names: to compare a longer one takes too long."""

_SYNONYMS = {
    "absolute": "mae l1 mean_absolute_error",
    "batch_norm": "batch_norm1d batch_norm2d batch_normalization",
    "bce": "binary_cross_entropy bce_with_logits",
    "bfloat16": "bf16",
    "conv": "conv2d",
    "cross_entropy": "categorical_cross_entropy sparse_categorical_cross_entropy",
    "emnist-digits": "emnist",
    "fashion-mnist": "fashion",
    "float16": "fp16 half",
    "float32": "fp32",
    "identity": "linear none",
    "kaiming": "he he_uniform kaiming_uniform",
    "lenet5": "lenet",
    "linear": "dense",
    "mse": "l2 mean_squared_error",
    "none": "linear",
    "pool": "max_pool max_pool2d max_pooling2d",
    "residual": "resnet",
    "swish": "silu",
    "val_accuracy": "val_acc",
    "xavier": "glorot glorot_uniform xavier_uniform",
}
"""A name → its synonyms in PyTorch, Keras and common use. `linear` is a layer, an activation and an output: the names
that are possible at a place decide."""


def canonical(word: object, names: Iterable[str]) -> object:
    """Return the one of `names` that `word` stands for, else `word` itself."""
    if not isinstance(word, str) or word in names or len(word) > MAX_WORD_LENGTH:
        return word
    meant = {_plain(word), _plain(word).removesuffix("loss")}
    return next((name for name in names if meant & set(map(_plain, (name, *_SYNONYMS.get(name, "").split())))), word)


def _plain(word: str) -> str:
    return word.lower().translate({ord(mark): None for mark in "-_ "})
