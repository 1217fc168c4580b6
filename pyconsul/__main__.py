"""``python -m pyconsul`` is ``pyconsul``."""

from pyconsul.cli.main import run

run()
