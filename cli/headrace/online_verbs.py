"""Rows of the table of verbs: online endpoints and deployments."""

from __future__ import annotations

from typing import Final

from headrace.verb import Verb, verb

GROUPS: Final = {
    "online-endpoint": "Endpoints for real-time scoring.",
    "online-deployment": "Versions of a model behind an online endpoint.",
}

_EP = "headrace.online_endpoint:"
_FILE = "headrace.single_file:"
_OLD = "headrace.verbs_of_2021:"
_DEP = "headrace.online_deployment:"
_EP_COLUMNS = "name provisioning_state auth_mode traffic mirror_traffic scoring_uri"
_DEP_COLUMNS = (
    "name endpoint_name provisioning_state instance_type instance_count ready_instances model"
)

VERBS: Final[tuple[Verb, ...]] = (
    verb(
        "online-endpoint create",
        _FILE + "create",
        "Create an endpoint, from a file or by name.",
        optional="--auth-mode, --file -f, --local, --name -n, --no-wait, --web -e",
        generic="--set",
        columns=_EP_COLUMNS,
    ),
    verb(
        "online-endpoint delete",
        _OLD + "delete",
        "Delete an endpoint and its deployments, or one with --deployment.",
        required="--name -n",
        optional="--local, --no-wait, --yes -y",
        ours="--deployment",
    ),
    verb(
        "online-endpoint get-credentials",
        _EP + "get_credentials",
        "Print the endpoint's keys or a token.",
        required="--name -n",
    ),
    verb(
        "online-endpoint get-logs",
        _OLD + "get_logs",
        "Print the log of one of its deployments, as in 2021.",
        required="--name -n, --deployment",
        optional="--container -c, --lines -l (=5000), --local",
        ours="--follow -f",
    ),
    verb(
        "online-endpoint invoke",
        _EP + "invoke",
        "Send a request and print the answer.",
        required="--name -n",
        optional="--deployment-name -d, --local, --request-file -r",
    ),
    verb(
        "online-endpoint list",
        _EP + "list_all",
        "List endpoints.",
        optional="--local",
        columns=_EP_COLUMNS,
    ),
    verb(
        "online-endpoint regenerate-keys",
        _EP + "regenerate_keys",
        "Replace one of the two keys.",
        required="--name -n",
        optional="--key-type (=primary), --no-wait",
    ),
    verb(
        "online-endpoint show",
        _EP + "show",
        "Show an endpoint.",
        required="--name -n",
        optional="--local, --web -e",
        columns=_EP_COLUMNS,
    ),
    verb(
        "online-endpoint update",
        _FILE + "update",
        "Change traffic, mirror, description, tags or any field.",
        optional="--file -f, --local, --mirror-traffic, --name -n, --no-wait, --traffic -r, "
        "--web -e",
        ours="--yes -y",
        generic="GEN",
        columns=_EP_COLUMNS,
    ),
    verb(
        "online-endpoint wait",
        _EP + "wait",
        "Wait until an endpoint is deployed or gone.",
        required="--name -n",
        ours="--for, --timeout",
        columns=_EP_COLUMNS,
    ),
    verb(
        "online-deployment create",
        _DEP + "create",
        "Create a deployment and wait until it serves.",
        required="--file -f",
        optional="--all-traffic, --endpoint-name -e, --local, --local-enable-gpu, --name -n, "
        "--no-wait, --package-model, --skip-script-validation, --vscode-debug, --web",
        generic="--set",
        columns=_DEP_COLUMNS,
    ),
    verb(
        "online-deployment delete",
        _DEP + "delete",
        "Drain a deployment and delete it.",
        required="--endpoint-name -e, --name -n",
        optional="--local, --no-wait, --yes -y",
    ),
    verb(
        "online-deployment get-logs",
        _DEP + "get_logs",
        "Print the log of a deployment's instance.",
        required="--endpoint-name -e, --name -n",
        optional="--container -c, --lines -l (=5000), --local",
        ours="--follow -f",
    ),
    verb(
        "online-deployment list",
        _DEP + "list_all",
        "List the deployments of an endpoint.",
        required="--endpoint-name -e",
        optional="--local",
        columns=_DEP_COLUMNS,
    ),
    verb(
        "online-deployment show",
        _DEP + "show",
        "Show a deployment.",
        required="--endpoint-name -e, --name -n",
        optional="--local, --web",
        columns=_DEP_COLUMNS,
    ),
    verb(
        "online-deployment update",
        _DEP + "update",
        "Roll a deployment to a new definition.",
        optional="--endpoint-name -e, --file -f, --local, --local-enable-gpu, --name -n, "
        "--no-wait, --skip-script-validation, --vscode-debug, --web",
        generic="GEN",
        columns=_DEP_COLUMNS,
    ),
    verb(
        "online-deployment wait",
        _DEP + "wait",
        "Wait until a deployment is deployed or gone.",
        required="--endpoint-name -e, --name -n",
        ours="--for, --timeout",
        columns=_DEP_COLUMNS,
    ),
)
