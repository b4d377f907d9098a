"""Paths that carry any text: node ids and model names, line feeds and slashes included.

Starlette's `path` stops at a line feed, and the `$` at the end of its patterns looks past one, so
that `17` would answer for `17` with a line feed behind it. Here a path matches whole or not at all.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor

__all__ = ["WholeRoute"]


class TextConvertor(Convertor[str]):
    """`{name:text}`: any characters."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class WholeRoute(APIRoute):
    """A route whose pattern ends where the path ends."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")


register_url_convertor("text", TextConvertor())
