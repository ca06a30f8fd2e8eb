"""The commands put together: arguments in, exit code out."""

from __future__ import annotations

import io
import logging
import ssl
import sys
from collections.abc import Sequence
from platform import python_version
from typing import Annotated, Any

import typer

from .. import __version__
from . import (
    add,
    backup_key,
    check,
    convert,
    demo,
    deploy,
    doctor,
    export,
    fetch,
    get,
    import_,
    init,
    keystore,
    lab,
    list_,
    plan,
    promote,
    remove,
    retire,
    run,
    show,
)
from .exit_codes import CommandError, ExitCode
from .groups import Command, help_unless_invoked, new_group
from .output import complain

__all__ = ["app", "main"]

# UsageError, which comes with click or inside typer, depending on typer's version
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

EXAMPLES = """
keypin demo
keypin show api.example.com
keypin fetch api.example.com -o myCertificate.cer
keypin get https://api.example.com/ --certificate myCertificate.cer
keypin check --cafile private-ca.pem
keypin plan --adoption 30d --refresh 7d --lifetime 47d --rotate-every 1y
keypin init
keypin list
keypin add https://api.example.com/ --from live --report --backup
keypin backup-key "api 2027"
keypin export android -o network_security_config.xml
keypin run -- python app.py
keypin doctor -- python my_client_check.py --pins {pins} {url}
keypin lab run -- curl -sS --pinnedpubkey {curl_pins} {url}
"""


app: typer.Typer = new_group(EXAMPLES)
# one line for each command's module
app.command("demo", cls=Command, epilog=demo.EXAMPLES)(demo.demo)
app.command("show", cls=Command, epilog=show.EXAMPLES)(show.show)
app.command("fetch", cls=Command, epilog=fetch.EXAMPLES)(fetch.fetch)
app.command("convert", cls=Command, epilog=convert.EXAMPLES)(convert.convert)
app.command("get", cls=Command, epilog=get.EXAMPLES)(get.get)
app.command("init", cls=Command, epilog=init.EXAMPLES)(init.init)
app.command("list", cls=Command, epilog=list_.EXAMPLES)(list_.list_)
app.command("add", cls=Command, epilog=add.EXAMPLES)(add.add)
app.command("remove", cls=Command, epilog=remove.EXAMPLES)(remove.remove)
app.command("promote", cls=Command, epilog=promote.EXAMPLES)(promote.promote)
app.command("retire", cls=Command, epilog=retire.EXAMPLES)(retire.retire)
app.command("backup-key", cls=Command, epilog=backup_key.EXAMPLES)(backup_key.backup_key)
app.command("check", cls=Command, epilog=check.EXAMPLES)(check.check)
app.command("plan", cls=Command, epilog=plan.EXAMPLES)(plan.plan)
app.command("deploy", cls=Command, epilog=deploy.EXAMPLES)(deploy.deploy)
app.command("export", cls=Command, epilog=export.EXAMPLES)(export.export)
app.command("import", cls=Command, epilog=import_.EXAMPLES)(import_.import_)
app.command("keystore", cls=Command, epilog=keystore.EXAMPLES)(keystore.keystore)
app.command("run", cls=Command, epilog=run.EXAMPLES, context_settings=run.SETTINGS)(run.run)
app.command("doctor", cls=Command, epilog=doctor.EXAMPLES, context_settings=doctor.SETTINGS)(
    doctor.doctor
)
app.add_typer(lab.lab, name="lab")

# what --help lists together; in the order of the lines above
TASKS = {
    "Begin": ("demo",),
    "Look at servers and certificates": ("show", "fetch", "convert", "get"),
    "Edit a pin file": ("init", "list", "add", "remove", "promote", "retire", "backup-key"),
    "Change keys without breaking clients": ("check", "plan", "deploy"),
    "Pin programs, and test them": ("run", "doctor", "lab"),
    "Take pins elsewhere": ("export", "import", "keystore"),
}
TASK_OF = {name: task for task, names in TASKS.items() for name in names}
for registered in app.registered_commands:
    registered.rich_help_panel = TASK_OF.get(registered.name or "")
for group in app.registered_groups:
    group.rich_help_panel = TASK_OF.get(group.name or "")


@app.callback(invoke_without_command=True)
def keypin(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the versions of keypin, Python and OpenSSL.")
    ] = False,
) -> None:
    """Pin the public keys of TLS servers."""
    if version:
        versions = f"keypin {__version__} (Python {python_version()}, {ssl.OPENSSL_VERSION})"
        sys.stdout.write(versions + "\n")
        raise typer.Exit(ExitCode.OK)
    help_unless_invoked(context)


# Until the release after next
RENAMED = {
    "--also": "--extra-host",
    "--against": "--older-pins",
    "--disclaim": "--without-claim",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what stands behind the program's name; `sys.argv[1:]` if None.

    Returns:
        The exit code, one of `ExitCode`.
    """
    _prepare_output()
    try:
        words = _renamed(sys.argv[1:] if arguments is None else arguments)
        return int(app(words, prog_name="keypin", standalone_mode=False) or ExitCode.OK)
    except CommandError as error:
        complain(error.message)
        return error.code
    except USAGE_ERROR as error:
        complain(_usage(error))
        return ExitCode.USAGE
    except typer.Abort:
        return ExitCode.INTERRUPTED


def _renamed(words: Sequence[str]) -> list[str]:
    """The words of a command, with options by the names that they have now."""
    found = []
    own = len(words) if "--" not in words else list(words).index("--")
    for word in words[:own]:
        name, equals, value = word.partition("=")
        found.append(RENAMED.get(name, name) + equals + value)
    return [*found, *words[own:]]


def _prepare_output() -> None:
    # a subject in letters that the terminal's encoding lacks is no reason to fail
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # mismatches are shown as errors; without a handler, logging would print them once more
    logging.getLogger("keypin").addHandler(logging.NullHandler())


def _usage(error: Any) -> str:
    where = "keypin" if error.ctx is None else error.ctx.command_path
    return f"{error.format_message()}\nTry: {where} --help"
