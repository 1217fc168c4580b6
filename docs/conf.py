"""Configuration of Sphinx; also writes the reference pages that come from the code."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from pyconsul import __version__  # noqa: E402
from pyconsul.agent import metric_names  # noqa: E402
from pyconsul.cli import reference as cli_reference  # noqa: E402
from pyconsul.config import reference as config_reference  # noqa: E402
from pyconsul.raft import reference as raft_reference  # noqa: E402

project = "pyconsul"
author = "the pyconsul authors"
copyright = "the pyconsul authors"
release = version = __version__
extensions: list[str] = []
exclude_patterns = ["_build", "reference/generated"]
html_theme = "alabaster"
nitpicky = True

generated = HERE / "reference" / "generated"
generated.mkdir(exist_ok=True)
(generated / "settings.rst").write_text(config_reference.render(), "utf-8")
(generated / "commands.rst").write_text(cli_reference.render(), "utf-8")
(generated / "metrics.rst").write_text(metric_names.render(), "utf-8")
(generated / "states.rst").write_text(raft_reference.render(), "utf-8")
