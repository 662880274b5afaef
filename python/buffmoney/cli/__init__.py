"""The command line. Every command reads its settings, calls one function of the package that owns the matter, and prints.

Packages are imported inside their commands, so that `buffmoney --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from cyclopts import App

from buffmoney import __version__
from buffmoney.cli import access, audit, channels, customers, processes, product, rate_cards
from buffmoney.cli.context import fail

app = App(
    name="buffmoney",
    version=__version__,
    help=(
        "Metering, prepaid balances and an append-only ledger for AI products.\n\n"
        "Start with `buffmoney up`, or see everything at work with `buffmoney demo`."
    ),
    help_format="markdown",
)
for part in (processes, access, channels, audit, rate_cards, customers, product):
    part.register(app)


def main() -> NoReturn:
    """Runs the command of this process's arguments and exits: 0, 1 for a failure, 2 for wrong arguments."""
    from buffmoney.base.errors import Problem

    try:
        code = app(result_action="return_value")
    except KeyboardInterrupt:
        sys.exit(130)
    except Problem as problem:
        fail(f"{problem.detail} [{problem.code}]")
    except (ValueError, RuntimeError, OSError) as failure:
        # Settings, servers, migrations and files say in their message what is wrong and what to do.
        if os.environ.get("BUFFMONEY_TRACEBACK") == "1":
            raise
        fail(str(failure) or type(failure).__name__)
    sys.exit(code if isinstance(code, int) else 0)
