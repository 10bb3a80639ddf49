"""The table of verbs: what `headrace` offers and what it will, as data (azure_behaviour.md 7.5).

Groups and commands are built from it on demand; a handler is imported when its verb is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace import asset_verbs, later, online_verbs
from headrace.verb import Verb, verb


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of our own without a group; its target is a click.Command."""

    name: str
    target: str
    help: str


_MODEL = "headrace.model:"
_ENV = "headrace.environment:"
_ID = "headrace.identity:"
_ISSUER_COLUMNS = "id issuer audience algorithms role endpoint subject"
_ASSET_COLUMNS = "name version latest_version description creation_context.created_at"
_ASSET = "--label -l, --registry-name, --version -v"
_LIST = "--archived-only, --include-archived, --max-results -r, --name -n, --registry-name"

GROUPS: Final = {
    **online_verbs.GROUPS,
    "model": "Registered models.",
    "environment": "Conda, pip or image environments for deployments.",
    "client": "Clients with an id, a secret and a role.",
    "issuer": "Trusted OIDC issuers.",
    "env": "Environment variables for other tools.",
    **asset_verbs.GROUPS,
    **later.GROUPS,
}
ALIASES: Final = {"endpoint": "online-endpoint", "deployment": "online-deployment"}

OFFERED: Final = (
    *online_verbs.VERBS,
    verb(
        "model archive",
        "headrace.assets:archive",
        "Hide a model from lists; references keep working.",
        required="--name -n",
        optional=_ASSET,
    ),
    verb(
        "model create",
        _MODEL + "create",
        "Register a model.",
        optional="--datastore, --description, --file -f, --name -n, --no-wait, --path -p, "
        "--registry-name, --stage -s, --tags, --type -t, --version -v",
        generic="--set",
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "model list",
        _MODEL + "list_all",
        "List models, or the versions of one.",
        optional="--archived-only, --include-archived, --max-results -r, --name -n, "
        "--registry-name, --stage -s",
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "model restore",
        "headrace.assets:restore",
        "Take a model out of the archive.",
        required="--name -n",
        optional=_ASSET,
    ),
    verb(
        "model show",
        _MODEL + "show",
        "Show a version of a model.",
        required="--name -n",
        optional=_ASSET,
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "model update",
        _MODEL + "update",
        "Change description, tags, flavors or stage.",
        required="--name -n",
        optional="--label -l, --registry-name, --stage -s, --version -v",
        generic="GEN",
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "environment archive",
        "headrace.assets:archive",
        "Hide an environment from lists; references keep working.",
        required="--name -n",
        optional=_ASSET,
    ),
    verb(
        "environment create",
        _ENV + "create",
        "Register an environment.",
        optional="--build-context -b, --conda-file -c, --datastore, --description, "
        "--dockerfile-path -d (=/Dockerfile), --file -f, --image -i, --name -n, --no-wait, "
        "--os-type, --registry-name, --tags, --version -v",
        generic="--set",
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "environment list",
        _ENV + "list_all",
        "List environments, or the versions of one.",
        optional=_LIST,
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "environment restore",
        "headrace.assets:restore",
        "Take an environment out of the archive.",
        required="--name -n",
        optional=_ASSET,
    ),
    verb(
        "environment show",
        _ENV + "show",
        "Show a version of an environment.",
        required="--name -n",
        optional=_ASSET,
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "environment update",
        _ENV + "update",
        "Change description or tags.",
        required="--name -n",
        optional=_ASSET,
        generic="GEN",
        columns=_ASSET_COLUMNS,
    ),
    verb(
        "client create",
        _ID + "create_client",
        "Create a client; its secret is printed once and never again.",
        required="--role",
        optional="--endpoint, --name -n",
    ),
    verb(
        "client list",
        _ID + "list_clients",
        "List clients, without secrets.",
        columns="client_id name role endpoint created_at created_by",
    ),
    verb(
        "client delete",
        _ID + "delete_client",
        "Delete a client by name or id and invalidate its tokens.",
        required="--name -n",
    ),
    verb(
        "issuer add",
        _ID + "add_issuer",
        "Trust an OIDC issuer's tokens for one audience.",
        required="--issuer, --audience",
        optional="--algorithm, --role, --endpoint, --subject, --ca-file",
        columns=_ISSUER_COLUMNS,
    ),
    verb("issuer list", _ID + "list_issuers", "List issuers.", columns=_ISSUER_COLUMNS),
    verb(
        "issuer delete",
        _ID + "delete_issuer",
        "Stop accepting an issuer's tokens.",
        required="--id",
    ),
    verb(
        "env azure",
        "headrace.azure_env:azure",
        "Print export lines for azure-ai-ml, azure-identity and az.",
        optional="--python, --config, --configuration (=metadata)",
    ),
)

VERBS: Final = (
    *OFFERED,
    *(
        verb(
            path,
            handler,
            words,
            required=required,
            optional=optional,
            ours=ours,
            generic=generic,
            columns=columns,
        )
        for path, handler, words, required, optional, ours, generic, columns in asset_verbs.ROWS
    ),
    *(
        verb(path, "", "", required=required, optional=optional, generic=generic)
        for path, required, optional, generic in later.VERBS
    ),
)

COMMANDS: Final = (
    Command(name="up", target="headrace.platform.commands:up", help="Start the platform."),
    Command(
        name="status",
        target="headrace.platform.commands:status",
        help="Show the state and addresses of the platform.",
    ),
    Command(name="down", target="headrace.platform.commands:down", help="Stop the platform."),
    Command(name="run", target="headrace.platform.commands:run", help="Run one service alone."),
    Command(
        name="demo",
        target="headrace.demo.command:demo",
        help="A model, traffic and a rollout in under a minute.",
    ),
    Command(name="ca", target="headrace.own:ca", help="Print the path of the local CA."),
    Command(name="token", target="headrace.own:token", help="Print the admin's token."),
    Command(name="key", target="headrace.own:key", help="Print an endpoint's primary key."),
    Command(
        name="nats-creds",
        target="headrace.own:nats_creds",
        help="Print the path of the credentials for scoring over NATS.",
    ),
    Command(name="audit", target="headrace.audit:audit", help="Account for every request."),
    Command(
        name="events", target="headrace.events:events", help="List changes: who, what and when."
    ),
    Command(
        name="gc",
        target="headrace.gc:gc",
        help="Delete uploads and versions that nothing refers to.",
    ),
    Command(name="help", target="headrace.own:help_topic", help="help exit-codes."),
)


def verbs_of(group: str) -> dict[str, Verb]:
    """The verbs of a group by name, in the order of the table."""
    return {one.name: one for one in VERBS if one.group == group}
