"""The verbs of 2021, whose endpoints held their deployments: one command for both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headrace import online_deployment, online_endpoint
from headrace.call import Call


def delete(call: Call) -> Any:
    """Delete an endpoint and its deployments, or with --deployment that one alone."""
    if call.text("deployment"):
        return online_deployment.delete(_of_deployment(call))
    return online_endpoint.delete(call)


def get_logs(call: Call) -> Any:
    """Print the log of the deployment that --deployment names."""
    return online_deployment.get_logs(_of_deployment(call))


def _of_deployment(call: Call) -> Call:
    """The same call as `online-deployment` takes it."""
    named = {"endpoint_name": call.text("name"), "name": call.text("deployment")}
    return replace(call, options={**call.options, **named})
