"""The table of ARM routes: literal segments match in any case, names keep the caller's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from headrace_api.errors import HeadraceError
from headrace_services.control.arm.request import Handler

ARM_ROOTS: Final = frozenset({"subscriptions", "providers", "tenants", "mferp", "history", "data"})


class ResourceTypeNotSupported(HeadraceError, LookupError):
    """A resource type or action that is not built."""

    code: ClassVar[str] = "ResourceTypeNotSupported"
    status: ClassVar[int] = 404


class NoSuchPath(HeadraceError, LookupError):
    """A path that is no part of the API at all."""

    code: ClassVar[str] = "NotFound"
    status: ClassVar[int] = 404


class MethodNotAllowed(HeadraceError):
    """The resource is there, the method is not."""

    code: ClassVar[str] = "MethodNotAllowed"
    status: ClassVar[int] = 405

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            f"{method} is not allowed on this resource; allowed are {', '.join(allowed)}",
            target=method,
        )
        self.allowed = allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The handler of a request and the parameters in its path."""

    handler: Handler
    path: Mapping[str, str]


class ArmRouter:
    """Finds the handler of a path among templates such as `/subscriptions/{sub}/...`."""

    def __init__(self) -> None:
        # By number of segments: no template matches a path of another length.
        self._routes: dict[int, list[tuple[tuple[str, ...], dict[str, Handler]]]] = {}
        self._templates: set[tuple[str, str]] = set()

    @property
    def routes(self) -> tuple[tuple[str, str], ...]:
        """Method and template of every route, as they were added."""
        return tuple(sorted(self._templates))

    def add(self, method: str, template: str, handler: Handler) -> None:
        self._templates.add((method, template))
        parts = tuple(
            part if part.startswith("{") else part.lower()
            for part in template.strip("/").split("/")
        )
        candidates = self._routes.setdefault(len(parts), [])
        for known, handlers in candidates:
            if known == parts:
                handlers[method] = handler
                return
        candidates.append((parts, {method: handler}))

    def find(self, method: str, segments: Sequence[str]) -> Match:
        """Raises ResourceTypeNotSupported, NoSuchPath or MethodNotAllowed."""
        for parts, handlers in self._routes.get(len(segments), ()):
            path = _matched(parts, segments)
            if path is not None:
                if method not in handlers:
                    raise MethodNotAllowed(method, tuple(sorted(handlers)))
                return Match(handler=handlers[method], path=path)
        raise _unknown(segments)


def _matched(parts: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    path: dict[str, str] = {}
    for part, segment in zip(parts, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            path[part[1:-1]] = segment
        elif part != segment.lower():
            return None
    return path


def _unknown(segments: Sequence[str]) -> HeadraceError:
    shown = "/" + "/".join(segments)
    if segments and segments[0].lower() in ARM_ROOTS:
        return ResourceTypeNotSupported(
            f"{shown!r} names a resource type or action that this version does not support",
            target=shown,
        )
    return NoSuchPath(f"there is nothing at {shown!r}", target=shown)
