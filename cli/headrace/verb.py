"""One verb of the command: a row of the table as data."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.options import Option, parse_option


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One command below a group."""

    group: str
    name: str
    help: str = ""
    handler: str = ""
    """`module:function`, imported on call; empty when the verb is not supported yet."""
    options: tuple[Option, ...] = ()
    generic: str = ""
    """Which options edit the fetched object: none, `--set`, or `GEN` for all four."""
    columns: tuple[str, ...] = ()
    """What a table shows, as JMESPath; empty shows every plain field."""

    @property
    def offered(self) -> bool:
        return bool(self.handler)

    @property
    def things(self) -> str:
        """What a list of the group holds, in words."""
        return "data assets" if self.group == "data" else f"{self.group.replace('-', ' ')}s"


def _options(required: str, optional: str, ours: str) -> tuple[Option, ...]:
    return (
        *(parse_option(one, required=True) for one in required.split(", ") if one),
        *(parse_option(one) for one in optional.split(", ") if one),
        *(parse_option(one, ours=True) for one in ours.split(", ") if one),
    )


def verb(
    path: str,
    handler: str,
    help: str,
    *,
    required: str = "",
    optional: str = "",
    ours: str = "",
    generic: str = "",
    columns: str = "",
) -> Verb:
    """A row; options are comma-separated, as `--name -n, --key-type (=primary)`."""
    group, name = path.split()
    return Verb(
        group=group,
        name=name,
        help=help,
        handler=handler,
        options=_options(required, optional, ours),
        generic=generic,
        columns=tuple(columns.split()),
    )
