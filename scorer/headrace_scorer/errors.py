"""Errors of an instance.

HeadraceError
+-- StartFailed                 the instance cannot become ready; `code` reaches the deployment
    +-- EnvironmentFailed       ImageBuildFailure: interpreter or packages
    +-- FetchFailed             ResourceNotReady: model or code cannot be fetched from control
    +-- LaunchRefused           BadArgument: the launch record asks what cannot be done
    +-- ScriptFailed            ResourceNotReady: import or init of the script
"""

from __future__ import annotations

from typing import ClassVar

from headrace_api.errors import HeadraceError


class StartFailed(HeadraceError):
    """The instance can never become ready (azure_behaviour.md 3.6)."""

    code: ClassVar[str] = "ResourceNotReady"


class EnvironmentFailed(StartFailed):
    """The environment cannot be built; the message ends with the resolver's own words."""

    code: ClassVar[str] = "ImageBuildFailure"

    def __init__(self, environment: str, words: str, *, hint: str = "") -> None:
        super().__init__(f"environment {environment or 'of the deployment'}: {words}", hint=hint)
        self.words = words


class FetchFailed(StartFailed):
    """A file of the model or the code does not come, or is not what its digest says."""

    def __init__(self, path: str, where: str, words: str) -> None:
        super().__init__(
            f"{path!r} cannot be fetched from {where}: {words}",
            hint="this home must hold the platform's ca.pem, and reach control at that address",
        )


class LaunchRefused(StartFailed, ValueError):
    """The launch record asks for something this compute cannot do, or is damaged."""

    code: ClassVar[str] = "BadArgument"


class ScriptFailed(StartFailed):
    """The user's script does not import, or its init raised."""

    code: ClassVar[str] = "ResourceNotReady"

    def __init__(
        self, phase: str, kind: str, traceback: str, listing: tuple[str, ...], *, hint: str = ""
    ) -> None:
        words = "could not be loaded" if phase != "init" else "failed in init()"
        files = "\n".join(("\n\nFiles below AZUREML_MODEL_DIR:", *listing)) if listing else ""
        said = f"the scoring script {words}\n\n{traceback}{files}"
        super().__init__(said, target=kind, hint=hint)
        self.without_traceback = f"the scoring script {words}{files}"
        self.phase = phase
        self.kind = kind
        self.listing = listing
