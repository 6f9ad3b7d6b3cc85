"""How commands speak: tables for people, JSON for programs, one line and a fix for what went wrong.

Exit codes: 0 done · 1 refused or failed · 2 wrong usage · 3 nothing answers · 4 not found · 5 conflict.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


class Exit(IntEnum):
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    CONFLICT = 5


class CommandError(Exception):
    """Ends a command with a sentence, perhaps a way out, and an exit code."""

    def __init__(self, message: str, *, fix: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.code = code


@dataclass(frozen=True)
class Output:
    """`json`: print documents instead of tables; nothing else then goes to standard output."""

    json: bool = False
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    errors: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, soft_wrap=True))

    def document(self, value: Any) -> None:
        self.console.print(json.dumps(value, indent=2, ensure_ascii=False, default=str), markup=False)

    def line(self, text: str) -> None:
        """A remark for a person."""
        if not self.json:
            self.console.print(text)

    def rows(self, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> None:
        """`columns`: field name to heading. As JSON the rows are given whole."""
        if self.json:
            self.document(list(rows))
        elif not rows:
            self.console.print(empty)
        else:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for heading in columns.values():
                table.add_column(heading, overflow="fold")
            for row in rows:
                table.add_row(*(shown(row.get(name)) for name in columns))
            self.console.print(table)

    def record(self, row: Mapping[str, Any]) -> None:
        """One thing with all of its fields, a line each: keys are copied from here."""
        if self.json:
            self.document(row)
            return
        width = max(map(len, row), default=0)
        for name, value in row.items():
            self.console.print(f"[dim]{name:<{width}}[/]  {shown(value)}")

    def error(self, error: CommandError) -> None:
        self.errors.print(f"[red]error[/] {escape(error.message)}")
        if error.fix:
            self.errors.print(f"  [dim]→[/] {escape(error.fix)}")


def shown(value: Any) -> str:
    """A cell's text."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping | list | tuple):
        return escape(json.dumps(value, ensure_ascii=False, default=str))
    return escape(str(value))
