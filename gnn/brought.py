"""Convolutions that users bring: named by an import path, built by the user's own function.

`module:my_models:make_conv` stands where the name of a built-in convolution would. The function is
called once per layer with what a built-in one is made of, the architecture and the place in the
stack, and returns a `gnn.conv.protocol.Conv`; `gnn.bridges.convs` wraps modules of PyG, of DGL and
plain ones. A model on disk holds the path as data and the weights as arrays. Importing runs code,
so a model from disk is built only where its module was allowed by name; what is imported comes
from the working directory or from installed packages, never from a directory of a model.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from gnn.errors import ModuleNotAllowedError, UserModuleError
from gnn.model_config import BROUGHT, ModelConfig, is_brought
from sampling.errors import GnnError

if TYPE_CHECKING:
    from gnn.convs import Layer

__all__ = ["Factory", "check_allowed", "factory_of", "module_names", "module_of"]

Factory = Callable[[ModelConfig, "Layer"], nn.Module]
MODEL_FILES = ("model.json", "weights.safetensors")


def module_of(conv: str) -> str | None:
    """The module that a convolution is imported from; None for a built-in one."""
    return conv.removeprefix(BROUGHT).split(":")[0] if is_brought(conv) else None


def module_names(text: str | None) -> tuple[str, ...]:
    """Names from "my_models,other.layers"."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def check_allowed(conv: str, allowed: Sequence[str], path: Path) -> None:
    """Refuse a convolution whose module nobody allowed.

    Args:
        conv: as the model names it.
        allowed: modules; what they contain is allowed with them.
        path: the model.

    Raises:
        ModuleNotAllowedError: it is brought by a module that is not allowed.
    """
    module = module_of(conv)
    if module is None:
        return
    if not any(module == name or module.startswith(f"{name}.") for name in allowed):
        raise ModuleNotAllowedError(path, module)


def factory_of(conv: str) -> Factory:
    """The user's function, imported.

    Raises:
        UserModuleError: there is no such module or function, or importing it fails.
    """
    module, name = conv.removeprefix(BROUGHT).split(":")
    _check_place(conv, module)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:
        raise UserModuleError(conv, f"cannot be imported ({_said(error)})") from error
    if not callable(found):
        raise UserModuleError(conv, f"names no function {name!r} of module {module!r}")

    def make(config: ModelConfig, at: Layer) -> nn.Module:
        try:
            made: Any = found(config, at)
        except GnnError:
            raise
        except Exception as error:
            raise UserModuleError(conv, f"raised {_said(error)} for layer {at.i + 1}") from error
        from gnn.brought_check import check_conv

        check_conv(conv, made, config, at)
        return made  # type: ignore[no-any-return]  # check_conv saw to it

    return make


def _check_place(conv: str, module: str) -> None:
    """Refuse a module that is not there, or that lies in a directory of a model.

    Looking for a module inside a package imports the package, so each is checked before the next.
    """
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # behind installed packages, which it cannot replace
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        name = ".".join(parts[:i])
        try:
            spec = importlib.util.find_spec(name)
        except Exception as error:
            raise UserModuleError(conv, f"cannot be imported ({_said(error)})") from error
        if spec is None:
            raise UserModuleError(
                conv, f"names module {name!r}, which is neither in {here} nor installed"
            )
        places = [*(spec.submodule_search_locations or []), *([spec.origin] if spec.origin else [])]
        if any(_in_model(Path(place)) for place in places):
            raise UserModuleError(conv, "lies in the directory of a model, which holds no code")


def _in_model(place: Path) -> bool:
    """Whether a file or a package lies in `MODELS/NAME`, or below."""
    place = place.resolve()
    folder = place if place.is_dir() else place.parent
    versions = [p for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    around = (folder, *folder.parents, *versions)
    return any(all((f / name).exists() for name in MODEL_FILES) for f in around)


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
