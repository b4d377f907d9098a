"""Models by name and version: opened once, kept, and followed as their directory changes.

A repository serves the models of some tasks out of a directory that holds all. Which version
answers to a name is decided by routes (`service.routing`); a version answers only once it is open
and has passed a test, and one that fails is passed over until its manifest changes. A model that
was handed out stays whole for who has it, whatever is loaded, unloaded or deleted meanwhile.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from gnn.errors import ModelNameError, UnknownModelError
from sampling.errors import DamagedError, GnnError, InputError
from service.errors import (
    ModelNotFoundError,
    UnloadedError,
    VersionNotFoundError,
    WrongTaskError,
)
from service.model_index import INFO, Key, Mark, ModelIndex, checked_path, mark_of
from service.routing import DEFAULT, Route, Routing, is_in_share

__all__ = ["Choice", "ModelRepository", "check_routes"]

MAX_OPEN = 16

log = structlog.get_logger()

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Choice(Generic[M]):
    """What answers one request.

    Attributes:
        name: that was asked for.
        model: open, or None where it has to be opened first.
        arm: "canary" or "stable" where the name has a canary, else None.
        shadow: what computes the same behind the answer, or None.
    """

    name: str
    model: M | None
    arm: str | None = None
    shadow: M | None = None


class ModelRepository(ABC, Generic[M]):
    """The models of some tasks.

    Args:
        index: of the directory with one folder per model name.
        routing: which version answers to which name.
        default: the model that answers to `default`; the one of that name, or the only one, when
            left out.
        only: open no model but this one.
    """

    subject: str
    """What its models are asked about."""

    def __init__(
        self,
        index: ModelIndex,
        routing: Routing,
        default: str | None = None,
        only: str | None = None,
    ) -> None:
        self.index, self.root, self.routing, self.only = index, index.root, routing, only
        self._open: OrderedDict[Key, M] = OrderedDict()
        self._marks: dict[Key, Mark] = {}
        self._refused: dict[Key, tuple[Mark, GnnError]] = {}
        self._held: set[Key] = set()
        self._newest: dict[str, int] = {}
        # the first guards what is known, for moments; the second is held while files are read
        self._lock, self._loading = threading.RLock(), threading.RLock()
        self._following, self._has_begun = threading.Lock(), False
        self._wanted, self.default = default, None
        self._tasks: dict[str, str | None] = {}
        self._found = self._look()
        self.default = self._default()

    @abstractmethod
    def _serves(self, task: str | None) -> bool:
        """Whether models of this task are in this repository; None where it is unknown."""

    @abstractmethod
    def _load(self, name: str, version: int) -> M:
        """Open a version from disk.

        Raises:
            UnknownModelError: there is no such version.
            GnnError: its files are damaged, or it does not fit.
        """

    @property
    def names(self) -> list[str]:
        """Models that can be asked for, sorted: not those pinned to what was unloaded."""
        with self._lock:
            return sorted(name for name in self._newest if not self._is_closed(name))

    @property
    def listed(self) -> dict[str, list[int]]:
        """Versions on disk of every model, those that do not answer too, as of the last look."""
        return dict(self._found)

    def trained_for(self, task: str) -> list[str]:
        """Models for a task in the whole directory, sorted, as of the last look."""
        return [name for name, known in self._tasks.items() if known == task]

    def newest(self, name: str) -> int:
        """The version that answers when none is asked for.

        Raises:
            ModelNotFoundError: there is no such model.
            UnloadedError: all of it was unloaded.
        """
        return self._locate(name, None)[1]

    def newest_or_none(self, model: str) -> int | None:
        """The same by the model's own name and routes aside; None where none can answer."""
        return self._newest.get(model)

    def versions(self, name: str) -> list[int]:
        """Versions of a model on disk, ascending.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        versions = self._look().get(self.route(name).model)
        if versions is None:
            raise ModelNotFoundError(name, self.names)
        return versions

    def unloaded(self, name: str) -> list[int]:
        """Versions on disk that were told not to answer, ascending.

        Raises:
            ModelNotFoundError: there is no such model.
        """
        own = self.route(name).model
        return [v for v in self.versions(name) if self.routing.is_unloaded(own, v)]

    def resolve(self, name: str) -> str:
        """The model's own name, for a name, an alias or `default`.

        Raises:
            ModelNotFoundError: there is no such model.
            UnloadedError: all of it was unloaded.
        """
        return self._locate(name, None)[0]

    def route(self, name: str) -> Route:
        """Where a name leads, whether or not there is such a model."""
        return self.routing.resolve(name, self.default)

    def aliases_of(self, model: str) -> list[str]:
        """Other names of a model, sorted."""
        leading = self.routing.leading_to(model, self.default)
        return sorted(alias for alias in leading if alias not in (model, DEFAULT))

    def why_refused(self, name: str, version: int) -> GnnError | None:
        """Why a version on disk does not answer, where it was tried."""
        refused = self._refused.get((name, version))
        return None if refused is None else refused[1]

    def opened(self, name: str, version: int | None = None) -> M | None:
        """The model if it is open already, without touching a file.

        Raises:
            ModelNotFoundError: there is no such model.
            UnloadedError: the version was unloaded.
            GnnError: no version of the model can answer.
        """
        with self._lock:
            key = self._locate(name, version)
            if key in self._open:
                self._open.move_to_end(key)
            return self._open.get(key)

    def choose(
        self,
        name: str,
        version: int | None,
        content: Callable[[], bytes],
        usable: Callable[[M], bool] = lambda model: True,
    ) -> Choice[M]:
        """What answers a request: its version, or the canary where its content draws that.

        A canary that is not open, or cannot answer this, leaves its share to the others.

        Args:
            name: that is asked for.
            version: that is asked for; the routes decide where it is None.
            content: what decides about a request, and about its like.
            usable: whether a model can answer this request.

        Raises:
            ModelNotFoundError, UnloadedError, GnnError: as `opened`.
        """
        route = self.route(name) if self.routing.routes and version is None else None
        if route is None or not (route.canary or route.shadow):
            return Choice(name, self.opened(name, version))
        drawn = {kind for kind, share in (("canary", route.canary), ("shadow", route.shadow))
                 if share is not None and is_in_share(kind, route, share, content())}  # fmt: skip
        with self._lock:
            stable = self.opened(name)
            canary = self._share(route, route.canary)
            shadow = self._share(route, route.shadow) if "shadow" in drawn else None
        is_canary = "canary" in drawn and canary is not None and usable(canary)
        arm = None if route.canary is None else "canary" if is_canary else "stable"
        model = canary if is_canary else stable
        return Choice(name, model, arm, None if shadow is model else shadow)

    def get(self, name: str, version: int | None = None) -> M:
        """The model, opened where it is not yet.

        Raises:
            ModelNotFoundError: there is no such model.
            VersionNotFoundError: there is no such version.
            UnloadedError: it was unloaded.
            GnnError: its files are damaged, or it does not fit the graph.
        """
        with self._loading:
            model = self.opened(name, version)
            return self.exactly(*self._locate(name, version)) if model is None else model

    def exactly(self, name: str, version: int) -> M:
        """A version by the model's own name, whatever the routes say.

        Raises:
            VersionNotFoundError: there is no such version.
            GnnError: its files are damaged, or it does not fit the graph.
        """
        with self._loading:
            with self._lock:
                model = self._open.get((name, version))
            if model is None:
                mark = mark_of(self.root, name, version)
                model = self._from_disk(name, version)
                self._keep((name, version), model, mark)
            return model

    def prove(self, name: str, version: int, check: Callable[[M], None]) -> M:
        """A version by the model's own name, open and tested now.

        Raises:
            ModelNotFoundError, VersionNotFoundError: there is no such model or version.
            GnnError: it cannot answer.
        """
        if name not in self._look():
            raise ModelNotFoundError(name, self.names)
        model = self.exactly(name, version)
        check(model)
        with self._lock:
            self._refused.pop((name, version), None)
        return model

    def refresh(self, check: Callable[[M], None]) -> list[M]:
        """Look at the directory: open what is new, forget what is gone.

        A new version answers once it is open and `check` has passed; one that fails is passed
        over until its manifest changes, and the version before it goes on answering.

        Returns:
            The models that answer from now on in place of another, or of none.
        """
        return self.follow(None, check)

    def follow(self, routing: Routing | None, check: Callable[[M], None]) -> list[M]:
        """Answer as a routing says, or as before, from the moment that all it needs is open.

        Returns:
            As `refresh`.
        """
        with self._following:
            routing, found = routing or self.routing, self._look()
            before = self._answering()
            newest = {
                name: version
                for name, versions in found.items()
                if (version := self._newest_of(name, versions, routing, check)) is not None
            }
            held = set(newest.items()) | self._named(routing, found, check)
            with self._lock:
                self.routing, self._newest, self._held = routing, newest, held
                self._found, self._has_begun = found, True
                self._forget()
                self.default = self.default or self._default()
                now = self._answering()
            return [model for key, model in now.items() if before.get(key) is not model]

    def _answering(self) -> dict[Key, M]:
        """Open models that answer where no version is asked for."""
        with self._lock:
            return {key: self._open[key] for key in self._newest.items() if key in self._open}

    def _look(self) -> dict[str, list[int]]:
        found = sorted(self.index.look().items())
        self._tasks = {name: listed.task for name, listed in found}
        return {name: listed.versions for name, listed in found if self._serves(listed.task)}

    def _default(self) -> str | None:
        """The model that answers to `default`; once there is one it stays."""
        names = list(self._found)
        if self._wanted in names:
            return self._wanted
        if DEFAULT in names:
            return DEFAULT
        return names[0] if len(names) == 1 else None

    def _locate(self, name: str, version: int | None) -> Key:
        """Own name and version; an alias may name the version, unless one is asked for."""
        with self._lock:
            own, pinned = self._own(name)
            chosen = version or pinned or self._newest.get(own)
            if chosen is not None and self.routing.is_unloaded(own, chosen):
                raise UnloadedError(own, chosen)
            if own not in self._newest:
                self._refuse(name, own)
            assert chosen is not None, "a model that answers has a version that does"
            return own, chosen

    def _own(self, name: str) -> tuple[str, int | None]:
        """A model's own name, and the version that is pinned."""
        if self.routing.routes:
            route = self.route(name)
            return route.model, route.version
        return (self.default or name) if name == DEFAULT else name, None

    def _is_closed(self, name: str) -> bool:
        """Whether a model is pinned to a version that was unloaded."""
        own, pinned = self._own(name)
        return pinned is not None and self.routing.is_unloaded(own, pinned)

    def _refuse(self, name: str, own: str) -> None:
        """Say why no version of a model answers."""
        versions = self._found.get(own, [])
        for version in reversed(versions):
            if self.routing.is_unloaded(own, version):
                raise UnloadedError(own, version)
            if (own, version) in self._refused:
                raise self._refused[own, version][1].with_traceback(None)
        task = self._tasks.get(own)
        if task is not None and not self._serves(task):
            raise WrongTaskError(own, task, self.subject)
        raise ModelNotFoundError(name, self.names)

    def _share(self, route: Route, share: object) -> M | None:
        """The version of a canary or shadow, where it is open and tested."""
        key = (route.model, getattr(share, "version", 0))
        return self._open.get(key) if key in self._held else None

    def _newest_of(
        self, name: str, versions: list[int], routing: Routing, check: Callable[[M], None]
    ) -> int | None:
        """The newest version that can answer; one on trial only where there is no other."""
        if self.only not in (None, name):
            return versions[-1]
        loaded = [v for v in versions if not routing.is_unloaded(name, v)]
        trial = _on_trial(routing, name, self.default)
        for version in sorted(loaded, key=lambda v: (v not in trial, v), reverse=True):
            if self._can_answer((name, version), check):
                return version
        return None

    def _named(
        self, routing: Routing, found: dict[str, list[int]], check: Callable[[M], None]
    ) -> set[Key]:
        """Versions that routes name, or that were loaded, and that can answer."""
        if self.only is not None:
            return set()
        routes = [routing.resolve(name, self.default) for name in routing.routes]
        named = {(route.model, version) for route in routes for version in route.versions}
        named |= {(name, v) for name, versions in routing.state.loaded.items() for v in versions}
        return {
            key
            for key in sorted(named)
            if key[1] in found.get(key[0], ())
            and not routing.is_unloaded(*key)
            and self._can_answer(key, check)
        }

    def _can_answer(self, key: Key, check: Callable[[M], None]) -> bool:
        """Whether a version answers: opened and tested, unless that was done or has failed.

        A version that was replaced under its number by one that fails goes on as it was.
        """
        mark = mark_of(self.root, *key)
        with self._lock:
            is_tested = key in self._held and key in self._open
            if is_tested and self._marks.get(key) == mark:
                return True
        if key in self._refused and self._refused[key][0] == mark:
            return is_tested
        try:
            with self._loading:
                model = self._from_disk(*key)
            check(model)
        except GnnError as error:
            self._refused[key] = (mark, error)
            log.warning("model_unusable", model=key[0], version=key[1], reason=str(error))
            return is_tested
        with self._lock:
            self._held.add(key)
            self._refused.pop(key, None)
            self._keep(key, model, mark)
        if self._has_begun:  # what is there at the start is no news
            log.info("model_loaded", model=key[0], version=key[1])
        return True

    def _from_disk(self, name: str, version: int) -> M:
        try:
            checked_path(self.root, name, version)
            return self._load(name, version)
        except (UnknownModelError, ModelNameError):
            raise VersionNotFoundError(name, version, self._look().get(name, [])) from None
        except OSError as error:
            file = Path(error.filename or INFO).name
            raise DamagedError(self.root / name, file, error.strerror or str(error)) from error

    def _keep(self, key: Key, model: M, mark: Mark) -> None:
        with self._lock:
            self._open[key], self._marks[key] = model, mark
            self._open.move_to_end(key)
            spare = [k for k in self._open if k not in self._held and k != key]
            for old in spare[: max(0, len(self._open) - max(MAX_OPEN, len(self._held) + 1))]:
                self._close(old)

    def _forget(self) -> None:
        """Let go of versions that are gone or unloaded; who has one goes on with it."""
        for key in list(self._open):
            if key[1] not in self._found.get(key[0], ()) or self.routing.is_unloaded(*key):
                self._close(key)
                log.info("model_gone", model=key[0], version=key[1])
        for key in [k for k in self._refused if k[1] not in self._found.get(k[0], ())]:
            del self._refused[key]

    def _close(self, key: Key) -> None:
        del self._open[key]
        self._marks.pop(key, None)


def _on_trial(routing: Routing, name: str, default: str | None) -> set[int]:
    """Versions that are canary or shadow of a name that leads to no version of its own."""
    leading = routing.leading_to(name, default).values()
    return {version for route in leading if route.version is None for version in route.versions}


def check_routes(index: ModelIndex, routing: Routing) -> None:
    """Refuse routes of the settings that lead nowhere, or hide a model behind another.

    Raises:
        InputError: one does.
    """
    found = index.look()
    for alias, route in routing.given.items():
        if alias in found and route.model != alias:
            raise InputError(f"alias {alias!r} is the name of a model; choose another")
        if route.model == DEFAULT and DEFAULT not in found:
            continue
        known = found[route.model].versions if route.model in found else []
        missing = [version for version in route.versions if version not in known]
        if not known or missing:
            which = f"{route.model}@{missing[0]}" if missing else route.model
            raise InputError(f"alias {alias!r}: there is no model {which} in {index.root}")
