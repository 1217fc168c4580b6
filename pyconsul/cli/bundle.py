"""``python -m pyconsul.cli.bundle``: put what agents load into one file; see ``pyconsul.bundle``."""

from __future__ import annotations

import sys

from pyconsul import bundle
from pyconsul.cli.main import load_lean


def main() -> None:
    """Load all of it, as an agent does, and write it."""
    load_lean("agent")
    from pyconsul.cli.agent import load_role

    load_role("server")
    load_role("client")
    bundle.write(list(sys.modules.values()))


if __name__ == "__main__":
    main()
