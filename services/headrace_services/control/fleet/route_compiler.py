"""The specs of an endpoint and its deployments to the one record that ingresses apply."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from headrace_api.online_deployment import OnlineDeployment
from headrace_api.online_endpoint import OnlineEndpoint
from headrace_bus.wire.route_record import DeploymentRoute, Route
from headrace_services.control.identity.access import Access, Scorers
from headrace_state.desired_count import desired_count
from headrace_state.records import Spec

NOBODY: Final = Access()
DEFAULT_MAX_BODY_BYTES: Final = DeploymentRoute(name="").max_body_bytes


def compile_route(
    endpoint: Spec,
    deployments: Iterable[Spec],
    key_digests: Iterable[str],
    token_public_key: str,
    access: Access = NOBODY,
    failed: Collection[str] = (),
) -> Route:
    """Pure. Deployments that are being deleted are left out: nothing new reaches them.

    `failed` are the lower-case names of those whose instances nobody should wait for.

    Raises InvalidInput when a spec is not one that control wrote.
    """
    typed = OnlineEndpoint.from_arm(endpoint.arm, name=endpoint.name)
    routes = {
        spec.name.lower(): _deployment(endpoint.name, spec, failed=spec.name.lower() in failed)
        for spec in deployments
        if not spec.deleting and spec.name.lower() in endpoint.deployments
    }
    scorers = access.scorers(endpoint.name.lower()) if typed.auth_mode != "key" else Scorers()
    own = scorers if typed.auth_mode == "aad_token" else Scorers()
    return Route(
        endpoint=endpoint.name.lower(),
        auth_mode=typed.auth_mode,
        key_digests=tuple(key_digests) if typed.auth_mode == "key" else own.admin_digests,
        token_public_key=token_public_key if typed.auth_mode != "key" else "",
        audiences=own.audiences,
        epoch=endpoint.created_at if typed.auth_mode == "aml_token" else "",
        callers=scorers.callers,
        issuers=own.issuers,
        traffic={name: weight for name, weight in typed.traffic.items() if name in routes},
        mirror={name: share for name, share in typed.mirror_traffic.items() if name in routes},
        deployments=routes,
    )


def _deployment(endpoint: str, spec: Spec, *, failed: bool) -> DeploymentRoute:
    typed = OnlineDeployment.from_arm(spec.arm, endpoint=endpoint, name=spec.name)
    options = typed.options
    return DeploymentRoute(
        name=spec.name.lower(),
        max_concurrent=typed.max_concurrent,
        desired_instances=desired_count(spec),
        request_timeout_ms=typed.request_settings.request_timeout_ms,
        max_queue_wait_ms=typed.request_settings.max_queue_wait_ms,
        wake_timeout_ms=options.wake_timeout_ms,
        max_body_bytes=options.max_body_bytes or DEFAULT_MAX_BODY_BYTES,
        idempotent=options.idempotent,
        hedge=options.hedge,
        failed=failed,
    )
