"""The `headrace` command: groups and verbs built on demand from the table, errors in four parts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from headrace import errors, options, verbs
from headrace.call import Call
from headrace.settings import Settings, settings_in
from headrace.verb import Verb
from headrace_api.errors import HeadraceError

OUTPUTS: Final = ("json", "jsonc", "yaml", "yamlc", "table", "tsv", "none")
CONTEXT_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _GlobalOption(click.Option):
    """Kept in the settings and never passed to the command."""


def global_options() -> list[click.Option]:
    """The options every command takes, wherever they stand on the line."""
    return [
        _global(["--home"], "home_flag", "Data directory; default HEADRACE_HOME.", metavar="DIR"),
        _global(["-o", "--output"], "output", "Output format.", type=click.Choice(OUTPUTS)),
        _global(["--query"], "query", "JMESPath applied to the result.", metavar="EXPRESSION"),
        _global(["--only-show-errors"], "only_show_errors", "No progress.", is_flag=True),
        _global(["--verbose"], "verbose", "Say more.", is_flag=True),
        _global(["--debug"], "debug", "Show the HTTP exchange, secrets masked.", is_flag=True),
        _global(["-g", "--resource-group"], "", "Accepted and ignored.", hidden=True),
        _global(["-w", "--workspace-name"], "", "Accepted and ignored.", hidden=True),
    ]


def _global(names: list[str], field: str, help: str, **extra: Any) -> click.Option:
    def keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if field and value not in (None, False):
            setattr(settings_in(context), field, value)

    return _GlobalOption(names, help=help, expose_value=False, callback=keep, **extra)


def with_globals(command: click.Command) -> click.Command:
    """Add the global options that the command does not declare itself."""
    taken = {name for parameter in command.params for name in parameter.opts}
    for option in global_options():
        if not taken & set(option.opts):
            command.params.append(option)
    return command


class VerbCommand(click.Command):
    """A verb of the table."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = [name for one in self.get_params(ctx) for name in one.opts if name[:2] == "--"]
        return super().parse_args(ctx, spread(completed(args, known, ctx)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [p for p in self.get_params(ctx) if not isinstance(p, _GlobalOption)]
        shared = [p for p in self.get_params(ctx) if isinstance(p, _GlobalOption)]
        for title, parameters in (("Options", own), ("Global options", shared)):
            with formatter.section(title):
                formatter.write_dl([row for p in parameters if (row := p.get_help_record(ctx))])


def completed(args: list[str], known: Sequence[str], ctx: click.Context | None = None) -> list[str]:
    """Options by any beginning that only one has, as az takes them: `--endpoint x`.

    Raises click.UsageError where several begin so.
    """
    found = []
    for arg in args:
        name, equals, value = arg.partition("=")
        if name.startswith("--") and len(name) > 2 and name not in known:
            near = sorted({one for one in known if one.startswith(name)})
            if len(near) > 1:
                raise click.UsageError(f"Option {name} could be {', '.join(near)}.", ctx)
            arg = f"{near[0]}{equals}{value}" if near else arg
        found.append(arg)
    return found


def spread(args: list[str]) -> list[str]:
    """Give an option several values: `--set a=1 b=2` is `--set a=1 --set b=2`.

    Values of --add and --remove belong together and become one.
    """
    given: list[str] = []
    repeated, values = "", 0
    for arg in args:
        if arg.startswith("-"):
            repeated, values = (arg if arg in options.REPEATED else ""), 0
        elif repeated and values and repeated in options.GROUPED:
            given[-1] += options.GROUP_SEPARATOR + arg
            continue
        elif repeated:
            given += [repeated] if values else []
            values += 1
        given.append(arg)
    return given


class VerbGroup(click.Group):
    """One group of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(verbs.verbs_of(self.name or ""))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = verbs.verbs_of(self.name or "").get(cmd_name)
        return None if verb is None else _command(verb)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _refuse_unknown(self, ctx, args)
        return super().resolve_command(ctx, args)


class Root(click.Group):
    """All groups, aliases and our own commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(command.name for command in verbs.COMMANDS), *verbs.GROUPS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = verbs.ALIASES.get(cmd_name, cmd_name)
        if name in verbs.GROUPS:
            return _group(name)
        for command in verbs.COMMANDS:
            if command.name == name:
                return with_globals(_load(command.target))
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _refuse_unknown(self, ctx, args)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Written from the table: asking each command for its help would import it.
        with formatter.section("Platform"):
            formatter.write_dl([(one.name, one.help) for one in verbs.COMMANDS])
        with formatter.section("Resources"):
            formatter.write_dl(list(verbs.GROUPS.items()))


def _refuse_unknown(group: click.Group, ctx: click.Context, args: list[str]) -> None:
    known = group.list_commands(ctx)
    if args and not args[0].startswith("-") and group.get_command(ctx, args[0]) is None:
        import difflib

        near = difflib.get_close_matches(args[0], known, n=2)
        ours = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"No such command {args[0]!r}.{ours}", ctx)


def _group(name: str) -> click.Group:
    group = VerbGroup(name, help=verbs.GROUPS[name], context_settings=CONTEXT_SETTINGS)
    with_globals(group)
    return group


def _load(target: str) -> Any:
    module, _, function = target.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in (module, _parent(module)):
            raise
        raise errors.NotOffered(f"{target} is not part of this build") from error


def _parent(module: str) -> str:
    return module.rpartition(".")[0]


def _command(verb: Verb) -> click.Command:
    params: list[click.Parameter] = [_click_option(one) for one in verb.options]
    params += [_click_option(options.Option(name=name)) for name in options.GENERIC[verb.generic]]

    def call(**given: Any) -> None:
        _run(verb, given, settings_in(click.get_current_context()))

    note = "" if verb.offered else "Not offered yet."
    command = VerbCommand(
        verb.name,
        params=params,
        callback=call,
        help=verb.help or note,
        short_help=verb.help or f"{note.lower()}",
        context_settings=CONTEXT_SETTINGS,
    )
    return with_globals(command)


def _click_option(option: options.Option) -> click.Option:
    name = option.name
    names = [name, *([option.short] if option.short else [])]
    help_text = options.HELP.get(name, "")
    if not option.offered:
        help_text = f"{help_text} (not supported yet)".strip()
    if name in options.FLAGS:
        return click.Option(names, is_flag=True, help=help_text)
    # An explicit default of None would count as a value, and `required` would never speak.
    default: dict[str, Any] = (
        {"default": option.default, "show_default": True} if option.default else {}
    )
    return click.Option(
        names,
        required=option.required,
        multiple=name in options.REPEATED,
        type=_type(name),
        help=help_text,
        **default,
    )


def _type(name: str) -> click.ParamType[Any]:
    if name in options.CHOICES:
        return click.Choice(options.CHOICES[name])
    least = options.LEAST.get(name, 1)
    return click.IntRange(min=least) if name in options.INTEGERS else click.STRING


def _run(verb: Verb, given: dict[str, Any], settings: Settings) -> None:
    path = f"{verb.group} {verb.name}"
    if not verb.offered:
        raise errors.NotOffered(f"headrace {path} is not supported yet")
    for option in verb.options:
        value = given.get(option.name[2:].replace("-", "_"))
        if not option.offered and value and value != option.default:
            raise errors.NotOffered(f"{option.name} of headrace {path} is not supported yet")
    result = _load(verb.handler)(Call(options=given, settings=settings, path=path))
    if result is not None:
        from headrace import output

        output.show(result, settings, verb.columns, verb.things)


def _version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from headrace._version import VERSION

        click.echo(f"headrace {VERSION}")
        context.exit()


def root() -> click.Group:
    """Build the command."""
    command = Root(
        "headrace",
        help="Scoring endpoints on NATS: the verbs of az ml, on your machines.",
        context_settings=CONTEXT_SETTINGS,
    )
    command.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Print the version.",
        )
    )
    with_globals(command)
    return command


def _usage_text(error: click.ClickException) -> str:
    """A wrong call in the same parts as every other error."""
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else ""
    message = error.format_message()
    return errors.parts(errors.BadUsage(message[:1].lower() + message[1:], hint=hint))


def main(args: list[str] | None = None) -> int:
    """Run the command; returns its exit code (the script's entry point exits with it)."""
    try:
        code = root().main(args=args, prog_name="headrace", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(_usage_text(error), err=True)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except HeadraceError as error:
        click.echo(errors.parts(error), err=True)
        return errors.exit_code_of(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return errors.INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `| head` does; the rest of the output has no address.
        sys.stderr.close()
        return errors.OK
    except OSError as error:
        click.echo(errors.parts(errors.of_system(error)), err=True)
        return errors.FAILED
    return code if isinstance(code, int) else errors.OK


if __name__ == "__main__":
    sys.exit(main())
