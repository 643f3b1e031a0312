"""How `--help` of a group of commands looks: plain text, as Rich alone would take longer to load than all the rest."""

from typing import Any

from typer.core import TyperGroup

LONGEST_SENTENCE = 300
"""Characters of a command's first sentence that are shown."""


class CommandGroup(TyperGroup):
    """Commands with their first sentences, wrapped where Click would cut them to one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the section of commands."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, command.get_short_help_str(LONGEST_SENTENCE))
            for name, command in commands
            if command is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
