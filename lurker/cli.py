"""The command `lurker`: names each package's commands and imports a package only when one of them runs.

This is the only file in `lurker/` that refers to the packages above it. They are imported by name, so `lurker --help`
stays fast.
"""

import contextlib
import errno
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from lurker import __version__
from lurker.errors import LurkerError
from lurker.garbage import collect_rarely
from lurker.help import CommandGroup
from lurker.next_commands import as_typed, name_workspace, one_call

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 plus the signal's number."""
NO_ACCESS = "Make it readable and writable (`ls -ld`), or name another folder with `--workspace` or `--out`."
MOUNTED = {
    "demo": ("lurker.demo:app", "Run every stage on a simulated Reddit, in minutes."),
    "ingest": ("ingest.commands:app", "Read Reddit dumps, live Reddit or a simulated one into tables."),
    "pairs": ("features.commands:app", "Build, audit and compare preference pairs."),
    "rm": ("rm.commands:app", "Train, evaluate and apply reward models."),
    "policy": (
        "rm.policy.commands:app + rm.policy.agent_commands:app + rm.policy.judging_commands:app"
        " + rm.experiments.finished_commands:policies_app",
        "Train language models that write responses, and let them learn from a judge.",
    ),
    "experiment": ("rm.experiments.commands:app", "Compare data sizes, model sizes, communities and recipes."),
    "arena": (
        "dashboard.arena.commands:app + features.votes.commands:app",
        "Collect blind human votes, and learn from them.",
    ),
    "dashboard": ("dashboard.commands:app", "Explore the workspace in the browser."),
    "status": ("lurker.status:app", "Show what the workspace contains."),
}


class _Mounted(TyperCommand):
    """A name and a line of help, replaced by the package's real command when it is called."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return mounted_command(str(self.name)).make_context(info_name, args, parent=parent, **extra)


def mounted_command(name: str) -> Any:
    """The command of that name; of one that two packages share, a group with the commands of both."""
    commands = []
    for target in MOUNTED[name][0].split(" + "):
        module_name, _, attribute = target.partition(":")
        commands.append(typer.main.get_command(getattr(importlib.import_module(module_name), attribute)))
    for other in commands[1:]:
        commands[0].commands |= other.commands  # type: ignore[attr-defined]
    return commands[0]


class _Root(CommandGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(MOUNTED)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in MOUNTED:
            return None
        return _Mounted(cmd_name, help=MOUNTED[cmd_name][1], callback=None)


app = typer.Typer(
    cls=_Root, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"lurker {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    workspace: Path = typer.Option(
        Path("workspace"), "--workspace", envvar="LURKER_WORKSPACE", help="Folder of tables, pair sets and runs."
    ),
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Turn Reddit votes into preference pairs without shortcuts, and train and evaluate reward models on them.

    Start with `lurker demo`, or with `lurker ingest dump FILE...` for your own dumps.
    """
    ctx.obj = workspace
    source = ctx.get_parameter_source("workspace")
    if source is not None and source.name == "COMMANDLINE":
        name_workspace(workspace)


def run(arguments: list[str]) -> int:
    """Run one command line in this process.

    Returns:
        The exit code: 0 success, 1 the work failed, 2 the call was wrong, 130 interrupted.
    """
    with one_call():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        code = app(_hoist_workspace(arguments), standalone_mode=False)
        if code == INTERRUPTED:  # how Typer reports Ctrl-C
            return _interrupted()
        return code if isinstance(code, int) else 0
    except LurkerError as error:
        _print_error(error.message, error.next_step)
        return error.exit_code
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output is gone, as in `lurker ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _print_error(f"No access to {error.filename or 'a file'}: {error.strerror}.", NO_ACCESS)
            return 1
        if error.errno != errno.ENOSPC:
            raise
        return _no_space(error)
    except MemoryError:
        _print_error("Not enough memory.", "Use fewer subreddits at once, or a machine with more memory.")
        return 1
    except typer._click.exceptions.ClickException as error:
        error.show()
        return 2


def main() -> None:
    """Entry point of the console script."""
    collect_rarely()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal cannot show must not end the work
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def _hoist_workspace(arguments: list[str]) -> list[str]:
    """Allow `--workspace DIR` anywhere on the line, not only before the command."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument == "--workspace":
            front += [argument, *([value] if (value := next(remaining, None)) is not None else [])]
        elif argument.startswith("--workspace="):
            front.append(argument)
        else:
            rest.append(argument)
    return front + rest


def _no_space(error: OSError) -> int:
    """Report a full disk, or an output such as /dev/full that takes nothing."""
    where = error.filename or "where the output goes"
    with contextlib.suppress(OSError):
        _print_error(f"No space left: {where}.", "Make room, or write elsewhere; finished work is kept.")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered would fail again at exit
    return 1


def _print_error(message: str, next_step: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    if next_step:
        sys.stderr.write(as_typed(f"  next: {next_step}\n"))


def _interrupted() -> int:
    sys.stderr.write(
        "Interrupted. Finished work is kept; run the same command to resume, with `--resume` if it has that option.\n"
    )
    return INTERRUPTED
