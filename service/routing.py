"""Which version of which model answers to a name, as data: aliases, canaries, shadows.

    name ─▶ route ─▶ model, version (the newest where none is pinned)
                     canary: a share of the requests is answered by another version
                     shadow: a share is computed on another version too, behind the answer

A route comes from the settings or, before those, from what was set at run time (`RoutingState`).
Whether a request is in a share is a function of its content alone: the same request goes the same
way in every worker, after every restart, and stays in the share when the share grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import xxhash
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from service.settings import Settings

__all__ = ["DEFAULT", "Route", "Routing", "RoutingState", "Share", "content_of", "is_in_share"]

DEFAULT = "default"
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
MAX_ROUTES = 1000

Name = Annotated[str, Field(pattern=NAME)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
Versions = Annotated[list[Version], Field(max_length=10_000)]


class _Record(BaseModel):
    """Strict, closed, finite."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Share(_Record):
    """A version, and how many of the requests go to it."""

    version: Version = Field(description="Of the same model.")
    share: float = Field(gt=0, le=1, description="Of the requests, above 0 up to 1.")


class Route(_Record):
    """Where a name leads."""

    model: Name = Field(description="A model's own name.")
    version: Version | None = Field(default=None, description="The newest when left out.")
    canary: Share | None = Field(default=None, description="Answers a share of the requests.")
    shadow: Share | None = Field(
        default=None,
        description="Computes a share of the requests too; results are only compared.",
    )

    @property
    def versions(self) -> list[int]:
        """The versions that it names."""
        shares = [share.version for share in (self.canary, self.shadow) if share is not None]
        return shares if self.version is None else [self.version, *shares]


class RoutingState(_Record):
    """What was set at run time; the content of the routing file.

    Attributes:
        revision: grows with every change.
        aliases: name to route; goes before the settings.
        loaded: versions that are kept open, by model.
        unloaded: versions that do not answer, by model.
    """

    format_version: Literal[1] = 1
    revision: int = Field(default=0, ge=0, le=2**63 - 1)
    aliases: Annotated[dict[Name, Route], Field(max_length=MAX_ROUTES)] = {}
    loaded: Annotated[dict[Name, Versions], Field(max_length=MAX_ROUTES)] = {}
    unloaded: Annotated[dict[Name, Versions], Field(max_length=MAX_ROUTES)] = {}


class Routing:
    """Settings and run time together; never changes.

    Attributes:
        given: routes of the settings.
        state: what was set at run time.
        routes: of every name that has one.
    """

    def __init__(
        self, given: Mapping[str, Route] | None = None, state: RoutingState | None = None
    ) -> None:
        self.given, self.state = dict(given or {}), state or RoutingState()
        self.routes = {**self.given, **self.state.aliases}

    @classmethod
    def of(cls, settings: Settings, state: RoutingState | None = None) -> Routing:
        """The routes of the settings, and of a state where there is one."""
        given = _aliases(settings.aliases)
        for kind, text in (("canary", settings.canary), ("shadow", settings.shadow)):
            for name, share in _shares(text):
                route = given.get(name, Route(model=name))
                given[name] = route.model_copy(update={kind: share})
        return cls(given, state)

    def with_state(self, state: RoutingState) -> Routing:
        """The same settings with another state."""
        return Routing(self.given, state)

    def is_unloaded(self, model: str, version: int) -> bool:
        """Whether a version was told not to answer."""
        return version in self.state.unloaded.get(model, ())

    def resolve(self, name: str, default: str | None) -> Route:
        """The route of a name, with all that its model's own route adds to it.

        Args:
            name: that is asked for; any text.
            default: the model that answers to `default`, where no route says otherwise.
        """
        route = self.routes.get(name)
        model = name if route is None else route.model
        if model == DEFAULT and default is not None:
            model = default
        inner = self.routes.get(model) if model != name else None
        if route is None:
            return inner or _plain(model)
        if route.version is None and inner is not None:
            shares = {
                "canary": route.canary or inner.canary,
                "shadow": route.shadow or inner.shadow,
            }
            return inner.model_copy(update=shares)
        return route if route.model == model else route.model_copy(update={"model": model})

    def leading_to(self, model: str, default: str | None) -> dict[str, Route]:
        """The routes, resolved, of all names that have one and lead to a model."""
        found = {name: self.resolve(name, default) for name in self.routes}
        return {name: route for name, route in found.items() if route.model == model}


def is_in_share(kind: str, route: Route, share: Share, content: bytes) -> bool:
    """Whether a request of this content goes to a version.

    Example:
        >>> route, share = Route(model="fraud"), Share(version=2, share=1.0)
        >>> is_in_share("canary", route, share, b"[1, 2]")
        True
    """
    salt = f"{kind}:{route.model}@{share.version}:".encode()
    return bool(xxhash.xxh3_64_intdigest(salt + content) < share.share * 2**64)


def content_of(ids: Iterable[int | str]) -> Callable[[], bytes]:
    """The bytes that decide for a request about these nodes, made where they are needed."""
    return lambda: repr(list(ids)).encode("utf-8", "surrogatepass")


def _aliases(text: str) -> dict[str, Route]:
    """Routes from `canary=fraud@3,live=fraud`."""
    routes = dict[str, Route]()
    for part in filter(None, text.split(",")):
        alias, _, target = part.partition("=")
        name, _, version = target.partition("@")
        routes[alias] = Route(model=name, version=int(version) if version else None)
    return routes


def _shares(text: str) -> Iterable[tuple[str, Share]]:
    """Names and shares from `fraud@4:5%`."""
    for part in filter(None, text.split(",")):
        target, _, percent = part.partition(":")
        name, _, version = target.partition("@")
        share = float(percent.removesuffix("%")) / 100
        if share:
            yield name, Share(version=int(version), share=share)


def _plain(model: str) -> Route:
    """The route of a name that has none: any text, so that nothing is checked."""
    return Route.model_construct(model=model, version=None, canary=None, shadow=None)
