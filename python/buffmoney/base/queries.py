"""SQL as named statements: every package keeps its own in `queries.sql`.

A statement starts with a line `-- name: some_name`; comment lines below it stay in the text, so that they also show in the
server's logs and in pg_stat_statements.
"""

import re
from collections.abc import Mapping
from importlib import resources

_HEADING = re.compile(r"^-- name: ([a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """The statements of a queries file by name. Raises ValueError for a name given twice, an empty statement, or SQL before any name."""
    parts = _HEADING.split(text)
    if any(line.strip() and not line.lstrip().startswith("--") for line in parts[0].splitlines()):
        raise ValueError("SQL before the first `-- name:` line")
    statements: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in statements:
            raise ValueError(f"two statements are named {name}")
        statement = body.strip().rstrip(";").rstrip()
        if all(line.lstrip().startswith("--") or not line.strip() for line in statement.splitlines()):
            raise ValueError(f"statement {name} is empty")
        statements[name] = statement
    return statements


def load(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """The statements of `file` beside a package's modules, by name."""
    return parse(resources.files(package).joinpath(file).read_text(encoding="utf-8"))
