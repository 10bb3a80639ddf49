"""Operations of the client that do not work here: why, and what exactly the client does then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

NOT_SUPPORTED: Final = "(ResourceTypeNotSupported)"
NOT_RUN: Final = "schedules do not run here yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a call that fails looks like to its caller."""

    error: str
    """Class of the exception."""
    says: str
    """Part of its words."""
    asked: str = ""
    """Method and path of the last request; empty when the client asks nobody."""
    stranger: str = ""
    """Another host that it asked for, where the guard refused it."""

    def matches(self, found: Mapping[str, str]) -> bool:
        exact = (found["error"], found["asked"], found["stranger"])
        return exact == (self.error, self.asked, self.stranger) and self.says in found["says"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One operation."""

    reason: str
    seen: Seen
    elsewhere: Mapping[str, Seen] = field(default_factory=dict)
    """What is seen instead, by configuration: C holds the cloud for Azure's, B makes up a host."""

    def expected(self, configuration: str) -> Seen:
        return self.elsewhere.get(configuration, self.seen)


def _unsupported(reason: str, asked: str, error: str = "ResourceNotFoundError") -> Miss:
    return Miss(reason=reason, seen=Seen(error=error, says=NOT_SUPPORTED, asked=asked))


def _elsewhere(host: str, method: str, path: str) -> Seen:
    asked = f"{method} https://{host}{path}"
    return Seen(error="AnotherHost", says=host, asked=asked, stranger=host)


_REGISTRY: Final = "/registrymanagement/v1.0/registries/mine/discovery"
_SHARE: Final = Miss(
    reason="copies to a registry; there is none",
    seen=Seen(error="ResourceNotFoundError", says="(NotFound)", asked=f"GET {_REGISTRY}"),
    elsewhere={
        "B": _elsewhere("headracewest.api.ml.azure.", "GET", _REGISTRY),
        "C": _elsewhere("eastus.api.azureml.ms", "GET", _REGISTRY),
    },
)
_TEMPLATE: Final = "/providers/Microsoft.Resources/deployments/{name}"
_GROUP: Final = "/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/local"
_INSTANCE: Final = "of compute instances, which are not supported"

MISSES: Final = {
    "workspaces.begin_delete": Miss(
        reason="one installation is one workspace; `headrace down --purge`",
        seen=Seen(error="HttpResponseError", says="(MethodNotAllowed)", asked="DELETE {W}"),
    ),
    "workspaces.begin_provision_network": _unsupported(
        "there is no managed network", "POST {W}/provisionManagedNetwork"
    ),
    "datastores.mount": Miss(
        reason="the client lacks its package for mounts (rslex), and asks nobody",
        seen=Seen(error="MlException", says="requires package azureml-dataprep-rslex installed"),
    ),
    "data.mount": Miss(
        reason="the client lacks its package for mounts (rslex), and fails to say so",
        seen=Seen(error="TypeError", says="MlException.__init__() missing"),
    ),
    "compute.begin_attach": Miss(
        reason="machines and clusters of Azure are not attached; of computes, AmlCompute is kept",
        seen=Seen(
            error="HttpResponseError",
            says="computeType is 'Kubernetes': use AmlCompute",
            asked="PUT {W}/computes/x",
        ),
    ),
    "compute.begin_start": _unsupported(_INSTANCE, "POST {W}/computes/cpu-cluster/start"),
    "compute.begin_stop": _unsupported(_INSTANCE, "POST {W}/computes/cpu-cluster/stop"),
    "compute.begin_restart": _unsupported(_INSTANCE, "POST {W}/computes/cpu-cluster/restart"),
    "compute.enable_sso": _unsupported(
        _INSTANCE, "POST {W}/computes/cpu-cluster/enableSso", "HttpResponseError"
    ),
    "models.package": _unsupported(
        "model packages are not built yet",
        "POST {W}/models/words/versions/1/package",
        "HttpResponseError",
    ),
    "models.share": _SHARE,
    "environments.share": _SHARE,
    "data.share": _SHARE,
    "data.import_data": _unsupported("starts a job; jobs are not built yet", "PUT {W}/jobs/{name}"),
    "data.list_materialization_status": Miss(
        reason="lists jobs, which are not built yet; this client fails before it asks",
        seen=Seen(error="TypeError", says="unexpected keyword argument 'asset_name'"),
    ),
    "schedules.begin_enable": Miss(
        reason="schedules do not run yet",
        seen=Seen(error="HttpResponseError", says=NOT_RUN, asked="PUT {W}/schedules/nightly"),
    ),
    "schedules.trigger": _unsupported(
        "starts a job; jobs are not built yet",
        "POST {W}/schedules/nightly/trigger",
        "HttpResponseError",
    ),
}
"""Operations that never work."""

PARTLY: Final = {
    "schedules.begin_create_or_update": Miss(
        reason="not of one that is enabled, as schedules do not run yet; one that is not is stored",
        seen=Seen(error="HttpResponseError", says=NOT_RUN, asked="PUT {W}/schedules/enabled"),
    ),
    "workspaces.begin_create": Miss(
        reason="updates the one workspace; for another name it sends an ARM template, "
        "and one installation is one workspace",
        seen=Seen(
            error="ResourceNotFoundError", says=NOT_SUPPORTED, asked=f"PUT {_GROUP}{_TEMPLATE}"
        ),
        elsewhere={"C": _elsewhere("management.azure.com", "PUT", f"{_GROUP}{_TEMPLATE}")},
    ),
    "components.download": Miss(
        reason="not with a code folder: the client asks for the folder's address and takes one by "
        "the pattern `https://….blob.core.windows.net/…` only "
        "(`operations/_code_operations.py`, 264 to 270). Ours could be written so, and then "
        "it lists with the signature of `workspaceblobstore` "
        "(272), which opens no other container: 403",
        seen=Seen(
            error="ValueError",
            says="Invalid code path: https://",
            asked="GET {W}/codes/{name}/versions/1",
        ),
    ),
}
"""Operations that pass, and a use of each that does not."""
