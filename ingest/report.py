"""The base of every ingest report: tables, remarks and the next command, for people, notebooks and scripts."""

from collections.abc import Mapping
from typing import Any

from lurker.next_commands import tell
from lurker.progress import say
from lurker.report import Displayed, ResultTable, print_json, show


class IngestReport(Displayed):
    """What became of the rows of one call."""

    __slots__ = ()

    @property
    def next_command(self) -> str:
        """The command to run next; empty if there is none."""
        return ""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values."""
        raise NotImplementedError

    def tables(self) -> list[ResultTable]:
        """All tables, the main one first; those without rows are not shown."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """Sentences on what a reader should know before using the rows."""
        return []

    def require_complete(self) -> None:
        """Check that everything was read.

        Raises:
            LurkerError: some of it could not be read; what was read is kept.
        """

    def table(self) -> ResultTable:
        """The main table, with the remarks below it."""
        main = self.tables()[0]
        return ResultTable(main.title, main.rows, " ".join(self.remarks()))

    def __repr__(self) -> str:
        return "\n".join(map(str, self._shown_tables()))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return "".join(table._repr_html_() for table in self._shown_tables())

    def _shown_tables(self) -> list[ResultTable]:
        return [self.table(), *(table for table in self.tables()[1:] if table.rows)]

    def print(self, *, as_json: bool) -> None:
        """Print the report: tables or one JSON object on stdout, remarks on stderr."""
        if as_json:
            print_json(self.to_dict())
        else:
            for table in self.tables():
                if table.rows:
                    show(table)
        for remark in self.remarks():
            say(remark)
        if self.next_command and not as_json:
            tell(f"next: {self.next_command}")


def dropped_table(dropped: Mapping[str, int]) -> ResultTable:
    """Rows dropped by each filter, the largest number first."""
    rows = sorted(dropped.items(), key=lambda item: (-item[1], item[0]))
    return ResultTable("Dropped", [{"dropped because": reason, "rows": n} for reason, n in rows])
