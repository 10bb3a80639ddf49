"""The control API as one aiohttp application: health, documents, ARM, blobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from headrace_api.errors import HeadraceError
from headrace_api.ids import PROVIDER
from headrace_services.control.api import region
from headrace_services.control.api.asset_handlers import Add, AssetHandlers, add_asset_routes
from headrace_services.control.api.diagnosis import Diagnosis
from headrace_services.control.api.directory import Directory
from headrace_services.control.api.openapi import document
from headrace_services.control.arm.connection import small_heads
from headrace_services.control.arm.errors import (
    arm_errors,
    refuse_expectation,
    require_identity,
)
from headrace_services.control.arm.request import Answer, Call, Handler, path_segments, read_object
from headrace_services.control.arm.route_table import ARM_ROOTS, ArmRouter
from headrace_services.control.assets.workspace import Workspace
from headrace_services.control.blobs.wire import BlobWire
from headrace_services.control.identity.auth import Authenticator
from headrace_services.control.identity.clients import Clients
from headrace_services.control.identity.issuers import Issuers
from headrace_services.control.identity.oidc import OpenIdProvider
from headrace_services.control.online.attach import Attachments
from headrace_services.control.online.deployments import Deployments
from headrace_services.control.online.endpoints import Endpoints
from headrace_services.control.resources.operations import Operations
from headrace_services.control.trail.event_log import FAILED, LEFT, SUCCEEDED, EventLog
from headrace_services.control.trail.request_accounting import Conservation
from headrace_state.roles import Principal, asked, require

GROUP: Final = "/subscriptions/{subscription}/resourceGroups/{group}"
WORKSPACES: Final = f"{GROUP}/providers/{PROVIDER}/workspaces"
WORKSPACE: Final = f"{WORKSPACES}/{{workspace}}"
ALL_WORKSPACES: Final = f"/subscriptions/{{subscription}}/providers/{PROVIDER}/workspaces"
LOCATIONS: Final = f"/subscriptions/{{subscription}}/providers/{PROVIDER}/locations/{{location}}"
ANYBODY: Final = Principal(name="anonymous")
WRITE_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
BLOB_ROUTE: Final = "/blob/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """The handlers that the routes lead to."""

    workspace: Workspace
    operations: Operations
    assets: AssetHandlers
    endpoints: Endpoints
    deployments: Deployments
    attachments: Attachments
    clients: Clients
    issuers: Issuers
    provider: OpenIdProvider
    directory: Directory
    blobs: BlobWire
    conservation: Conservation
    diagnosis: Diagnosis
    journal: EventLog


def build_api(
    handlers: Handlers, authenticator: Authenticator, is_ready: Callable[[], bool]
) -> web.Application:
    """The application; `is_ready` answers `/readyz`."""
    api = _Api(handlers, authenticator, is_ready)
    application = web.Application(middlewares=[small_heads, arm_errors])
    # Not ".": it leaves out line feeds, and the path would be judged by aiohttp instead.
    application.router.add_route("*", r"/{path:[\s\S]*}", api.handle)
    application.on_response_prepare.append(refuse_expectation)
    return application


class _Api:
    """Leads each request to its handler: anonymous documents, blobs by signature, ARM by token."""

    def __init__(
        self, handlers: Handlers, authenticator: Authenticator, is_ready: Callable[[], bool]
    ) -> None:
        self._blobs = handlers.blobs
        self._provider = handlers.provider
        self._journal = handlers.journal
        self._authenticator = authenticator
        self._is_ready = is_ready
        self._public = _public_routes(handlers.workspace, self._health, self._readiness)
        self._arm = _arm_routes(handlers)
        self._public.add("GET", "/openapi.json", self._described)
        self._document = document(self._arm.routes, self._public.routes)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.raw_path.lower().startswith(BLOB_ROUTE):
            return await self._blobs.handle(request)  # which keeps what is sent, as it is sent
        require_identity(request)
        segments = path_segments(request.raw_path)
        if self._provider.owns(segments):
            return await self._provider.handle(request, segments)
        # Without a credential nobody learns which resources or types there are.
        protected = segments[0].lower() in ARM_ROOTS
        principal = ANYBODY
        if protected:
            header = request.headers.get("Authorization", "")
            principal = await self._authenticator.authenticate(header)
        if not protected or request.method not in WRITE_METHODS:
            return await self._answered(request, segments, principal)
        action = asked(request.method, segments).action
        outcome = FAILED  # unless it ends otherwise: what is unforeseen is answered further out
        try:
            answer = await self._answered(request, segments, principal)
            outcome = SUCCEEDED
        except HeadraceError as error:
            outcome = error.code
            raise
        except ConnectionError:
            outcome = LEFT
            raise
        finally:
            await self._journal.record(principal.name, action, request.path, outcome)
        return answer

    async def _answered(
        self, request: web.Request, segments: list[str], principal: Principal
    ) -> web.Response:
        protected = principal is not ANYBODY
        router = self._arm if protected else self._public
        match = router.find(request.method, segments)
        if protected:
            require(principal.roles, asked(request.method, segments))
        call = Call(
            principal=principal,
            path=match.path,
            query=request.query,
            headers=request.headers,
            body=await read_object(request) if request.method in BODY_METHODS else {},
            target=request.path,
        )
        return (await match.handler(call)).response()

    async def _described(self, call: Call) -> Answer:
        """What the API takes is no secret: it is the same in every installation."""
        return Answer(body=self._document)

    async def _health(self, call: Call) -> Answer:
        return Answer(body={"status": "ok"})

    async def _readiness(self, call: Call) -> Answer:
        ready = self._is_ready()
        return Answer(body={"ready": ready}, status=200 if ready else 503)


def _public_routes(workspace: Workspace, health: Handler, readiness: Handler) -> ArmRouter:
    router = ArmRouter()
    router.add("GET", "/healthz", health)
    router.add("GET", "/readyz", readiness)
    router.add("GET", "/discovery", workspace.discovery)
    router.add("GET", "/metadata/endpoints", workspace.metadata)
    return router


def _arm_routes(handlers: Handlers) -> ArmRouter:
    router = ArmRouter()
    inside = handlers.workspace.inside

    def add(method: str, template: str, handler: Handler) -> None:
        router.add(method, template, inside(handler))

    add("GET", WORKSPACES, handlers.workspace.list_workspaces)
    add("GET", ALL_WORKSPACES, handlers.workspace.list_workspaces)
    add("GET", WORKSPACE, handlers.workspace.show)
    add("GET", f"{LOCATIONS}/mfeOperationsStatus/{{operation}}", handlers.operations.status)
    add("GET", f"{LOCATIONS}/mfeOperationResults/{{operation}}", handlers.operations.result)
    add("GET", f"{LOCATIONS}/vmSizes", region.sizes)
    add("GET", f"{LOCATIONS}/usages", region.usages)
    add("POST", f"{WORKSPACE}/diagnose", handlers.diagnosis.diagnose)
    add_asset_routes(add, WORKSPACE, handlers.assets)
    _add_endpoints(add, handlers.endpoints)
    _add_deployments(add, handlers.deployments)
    _add_clients(add, handlers.clients)
    _add_issuers(add, handlers.issuers)
    _add_directory(add, handlers.directory)
    attach = f"{WORKSPACE}/onlineEndpoints/{{endpoint}}/deployments/{{deployment}}/attach"
    add("POST", attach, handlers.attachments.attach)
    add("GET", f"{WORKSPACE}/audit", handlers.conservation.audit)
    add("GET", f"{WORKSPACE}/events", handlers.journal.list_all)
    return router


def _add_clients(add: Add, clients: Clients) -> None:
    one = f"{WORKSPACE}/clients/{{client}}"
    add("GET", f"{WORKSPACE}/clients", clients.list_all)
    add("GET", one, clients.get)
    add("PUT", one, clients.put)
    add("DELETE", one, clients.delete)


def _add_issuers(add: Add, issuers: Issuers) -> None:
    one = f"{WORKSPACE}/issuers/{{issuer}}"
    add("GET", f"{WORKSPACE}/issuers", issuers.list_all)
    add("GET", one, issuers.get)
    add("PUT", one, issuers.put)
    add("DELETE", one, issuers.delete)


def _add_directory(add: Add, directory: Directory) -> None:
    add("GET", "/tenants", directory.tenants)
    add("GET", "/subscriptions", directory.subscriptions)
    add("GET", "/subscriptions/{subscription}", directory.subscription)
    add("GET", "/subscriptions/{subscription}/resourceGroups", directory.groups)
    add("GET", GROUP, directory.group)


def _add_endpoints(add: Add, endpoints: Endpoints) -> None:
    one = f"{WORKSPACE}/onlineEndpoints/{{endpoint}}"
    add("GET", f"{WORKSPACE}/onlineEndpoints", endpoints.list_all)
    add("GET", one, endpoints.get)
    add("PUT", one, endpoints.put)
    add("PATCH", one, endpoints.patch)
    add("DELETE", one, endpoints.delete)
    add("POST", f"{one}/listKeys", endpoints.list_keys)
    add("POST", f"{one}/regenerateKeys", endpoints.regenerate_keys)
    add("POST", f"{one}/token", endpoints.token)


def _add_deployments(add: Add, deployments: Deployments) -> None:
    base = f"{WORKSPACE}/onlineEndpoints/{{endpoint}}/deployments"
    one = f"{base}/{{deployment}}"
    add("GET", base, deployments.list_all)
    add("GET", one, deployments.get)
    add("PUT", one, deployments.put)
    add("PATCH", one, deployments.patch)
    add("DELETE", one, deployments.delete)
    add("POST", f"{one}/getLogs", deployments.get_logs)
    add("GET", f"{one}/skus", deployments.list_skus)
