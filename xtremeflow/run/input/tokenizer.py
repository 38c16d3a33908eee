"""`--tokenizer`: counts tokens with an installed library, instead of characters."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from xtremeflow.learning.costs.estimates import TextSize


class TokenizerError(Exception):
    pass


def tokenizer(name: str) -> TextSize:
    """Returns a function that counts the tokens of a text.

    `name` is the path of a Hugging Face tokenizer.json, or an encoding or model that tiktoken
    knows. Raises TokenizerError if the tokenizer, or the library for it, is missing.
    """
    try:
        return _from_file(name) if Path(name).is_file() else _from_tiktoken(name)
    except ImportError as error:
        raise TokenizerError(
            f"--tokenizer {name} needs the package {error.name}: pip install {error.name}"
        ) from None


def _from_file(name: str) -> TextSize:
    tokenizers: Any = importlib.import_module("tokenizers")
    try:
        encode = tokenizers.Tokenizer.from_file(name).encode
    except Exception as error:  # the library raises Exception itself
        raise TokenizerError(f"--tokenizer {name} is not a tokenizer.json: {error}") from None
    return lambda text: len(encode(text, add_special_tokens=False).ids)


def _from_tiktoken(name: str) -> TextSize:
    tiktoken: Any = importlib.import_module("tiktoken")
    try:
        if name in tiktoken.list_encoding_names():
            encoding = tiktoken.get_encoding(name)
        else:
            encoding = tiktoken.encoding_for_model(name)
    except KeyError:
        known = ", ".join(tiktoken.list_encoding_names())
        raise TokenizerError(
            f"--tokenizer must be a file, a model that tiktoken knows, or one of {known}; "
            f"got {name!r}"
        ) from None
    except Exception as error:  # the library loads its tables from the network the first time
        raise TokenizerError(f"--tokenizer {name} cannot be loaded: {error}") from None
    encode = encoding.encode_ordinary
    return lambda text: len(encode(text))
