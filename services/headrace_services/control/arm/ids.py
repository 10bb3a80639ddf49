"""ARM ids and absolute URLs of this installation's one workspace."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace_api.ids import LOCATION, PROVIDER, ResourceId, asset_id, deployment_id, endpoint_id

OPERATION_API_VERSION = "2023-04-01-preview"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmIds:
    """Builds ids and URLs; names go in as the caller wrote them."""

    control_url: str
    ingress_url: str
    workspace: ResourceId = field(default_factory=ResourceId)
    location: str = LOCATION

    def endpoint(self, name: str) -> ResourceId:
        return endpoint_id(self.workspace, name)

    def deployment(self, endpoint: str, name: str) -> ResourceId:
        return deployment_id(self.workspace, endpoint, name)

    def container(self, kind: str, name: str) -> ResourceId:
        """Id of an asset without a version; `kind` is models, environments or codes."""
        return self.workspace.child(kind, name)

    def version(self, kind: str, name: str, version: str) -> ResourceId:
        return asset_id(self.workspace, kind, name, version)

    def operation(self, operation_id: str, *, results: bool = False) -> str:
        """Absolute URL at which the SDK polls (status) or fetches the end (results)."""
        query = f"?api-version={OPERATION_API_VERSION}&type=async"
        return self.control_url + self.operation_path(operation_id, results=results) + query

    def operation_path(self, operation_id: str, *, results: bool = False) -> str:
        folder = "mfeOperationResults" if results else "mfeOperationsStatus"
        return (
            f"/subscriptions/{self.workspace.subscription}/providers/{PROVIDER}"
            f"/locations/{self.location}/{folder}/{operation_id}"
        )

    @property
    def blob_base(self) -> str:
        return f"{self.control_url}/blob/{self.workspace.workspace}"

    def scoring(self, endpoint: str) -> str:
        return f"{self.ingress_url}/endpoints/{endpoint}/score"

    def swagger(self, endpoint: str) -> str:
        return f"{self.ingress_url}/endpoints/{endpoint}/swagger.json"
