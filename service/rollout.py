"""What an operator changes while the service runs, in this process and, by a file, in all others.

    PUT, POST ─▶ versions opened and tested ─▶ routing file ─▶ this process
                                                    └─ look ─▶ every other process, every restart

A change is refused before it is kept: a version that cannot answer is never promoted, and one that
a name leads to is never unloaded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from sampling.errors import GnnError
from service.errors import (
    AliasNotFoundError,
    InUseError,
    LimitError,
    ModelNotFoundError,
    RequestError,
    UnloadedError,
    VersionNotFoundError,
    shown,
)
from service.repository import ModelRepository
from service.routing import DEFAULT, MAX_ROUTES, Route, Routing, RoutingState
from service.routing_file import RoutingFile, Signature
from service.routing_metrics import RoutingMetrics

__all__ = ["Followed", "Rollout"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Followed:
    """A repository, and what its models must pass before they answer."""

    repository: ModelRepository[Any]
    test: Callable[[Any], None]


class Rollout:
    """Routes and versions as an operator sets them.

    Args:
        file: that keeps them.
        routing: that the repositories follow by now.
        followed: the repositories.
        metrics: told what is followed.
        on_change: told of the models that answer from now on.
    """

    def __init__(
        self,
        file: RoutingFile,
        routing: Routing,
        followed: Iterable[Followed],
        metrics: RoutingMetrics,
        on_change: Callable[[list[Any]], None] = lambda models: None,
    ) -> None:
        self.file, self.routing, self.followed = file, routing, list(followed)
        self.metrics, self.on_change = metrics, on_change
        metrics.revision.set(routing.state.revision)
        # the content that was followed is older than this, so that the first look reads the file
        self._seen: Signature | None = None
        self._lock = threading.RLock()

    def look(self) -> None:
        """Follow the file where it has changed; one that cannot be used is said once."""
        signature = self.file.signature()
        if signature == self._seen:
            return
        with self._lock:
            self._seen = signature
            try:
                state = self.file.read()
            except GnnError as error:
                log.error("routing_unusable", reason=str(error))
                self.metrics.unusable.set(1)
                return
            if state != self.routing.state:
                self._follow(state)
            self.metrics.unusable.set(0)

    def refresh(self) -> None:
        """Follow the models directory."""
        with self._lock:
            changed = [m for f in self.followed for m in f.repository.refresh(f.test)]
            self.on_change(changed)

    def set_alias(self, name: str, route: Route) -> RoutingState:
        """Lead a name to a model from now on.

        Raises:
            RequestError: the name belongs to another model, or the route contradicts itself.
            ModelNotFoundError, VersionNotFoundError, UnloadedError: it leads nowhere.
            GnnError: a version of it cannot answer.
            RoutingStoreError: it cannot be kept.
        """
        _check(route)
        if route.model != name and any(name in f.repository.listed for f in self.followed):
            raise RequestError(f"{shown(name)} is the name of a model; choose another alias")
        followed = self._of(route.model)
        for version in route.versions:
            if self.routing.is_unloaded(route.model, version):
                raise UnloadedError(route.model, version)
            followed.repository.prove(route.model, version, followed.test)

        def change(state: RoutingState) -> RoutingState:
            aliases = {**state.aliases, name: route}
            if len(aliases) > MAX_ROUTES:
                raise LimitError("aliases", MAX_ROUTES, len(aliases))
            return state.model_copy(update={"aliases": aliases})

        return self._edit(change)

    def delete_alias(self, name: str) -> RoutingState:
        """Forget what was set for a name; what the settings say of it is true again.

        Raises:
            AliasNotFoundError: nothing was set.
            RoutingStoreError: it cannot be kept.
        """

        def change(state: RoutingState) -> RoutingState:
            if name not in state.aliases:
                raise AliasNotFoundError(name)
            left = {alias: route for alias, route in state.aliases.items() if alias != name}
            return state.model_copy(update={"aliases": left})

        return self._edit(change)

    def load(self, name: str, version: int | None = None) -> RoutingState:
        """Open a version and keep it open, or let all versions of a model answer again.

        Raises:
            ModelNotFoundError, VersionNotFoundError: there is no such thing.
            GnnError: it cannot answer.
            RoutingStoreError: it cannot be kept.
        """
        followed = self._of(name)
        on_disk = followed.repository.versions(name)
        followed.repository.prove(name, version or on_disk[-1], followed.test)

        def change(state: RoutingState) -> RoutingState:
            cleared = on_disk if version is None else [version]
            kept = [] if version is None else [version]
            return _with_versions(state, name, on_disk, cleared, kept)

        return self._edit(change)

    def unload(self, name: str, version: int | None = None) -> RoutingState:
        """Let a version, or all of a model, answer no more; requests under way are finished.

        Raises:
            ModelNotFoundError, VersionNotFoundError: there is no such thing.
            InUseError: a name leads to it.
            RoutingStoreError: it cannot be kept.
        """
        repository = self._of(name).repository
        on_disk = repository.versions(name)
        if version is not None and version not in on_disk:
            raise VersionNotFoundError(name, version, on_disk)
        going = on_disk if version is None else [version]

        def change(state: RoutingState) -> RoutingState:
            routing = self.routing.with_state(state)
            for one in going:
                names = _leading_to(repository, routing, name, one)
                if names:
                    raise InUseError(name, one, names)
            return _with_versions(state, name, on_disk, [], [], going)

        return self._edit(change)

    def _edit(self, change: Callable[[RoutingState], RoutingState]) -> RoutingState:
        with self._lock:
            state = self.file.edit(change)
            self._follow(state)
        log.info("routing_set", revision=state.revision)
        return state

    def _follow(self, state: RoutingState) -> None:
        routing = self.routing.with_state(state)
        changed = [m for f in self.followed for m in f.repository.follow(routing, f.test)]
        self.routing = routing
        self.metrics.revision.set(state.revision)
        self.on_change(changed)

    def _of(self, model: str) -> Followed:
        """The repository of a model, by its own name."""
        for followed in self.followed:
            if model in followed.repository.listed:
                return followed
        known = [name for f in self.followed for name in f.repository.names]
        raise ModelNotFoundError(model, sorted(known))


def _check(route: Route) -> None:
    for kind, share in (("canary", route.canary), ("shadow", route.shadow)):
        if share is not None and share.version == route.version:
            raise RequestError(f"{kind}: version {share.version} is the one that answers anyway; "
                               "name another")  # fmt: skip


def _leading_to(
    repository: ModelRepository[Any], routing: Routing, name: str, version: int
) -> list[str]:
    """Names that need a version: to answer, as a canary or as a shadow; sorted."""
    needs = []
    for alias in sorted({DEFAULT, *routing.routes}):
        route = routing.resolve(alias, repository.default)
        is_newest = route.version is None and repository.newest_or_none(name) == version
        # a model's own name goes on to the version before it
        is_led = is_newest and (alias == DEFAULT or alias != name)
        if route.model == name and (version in route.versions or is_led):
            needs.append(alias)
    return needs


def _with_versions(
    state: RoutingState,
    name: str,
    on_disk: list[int],
    cleared: list[int],
    kept: list[int],
    going: Iterable[int] = (),
) -> RoutingState:
    """A state in which some versions are loaded and others unloaded; what is gone is forgotten."""
    going = set(going)
    unloaded = {*state.unloaded.get(name, ()), *going} - set(cleared)
    loaded = {*state.loaded.get(name, ()), *kept} - going
    changed = {}
    for field, before, now in (
        ("loaded", state.loaded, loaded),
        ("unloaded", state.unloaded, unloaded),
    ):
        versions = sorted(now & set(on_disk))
        others = {model: v for model, v in before.items() if model != name}
        changed[field] = {**others, name: versions} if versions else others
    return state.model_copy(update=changed)
