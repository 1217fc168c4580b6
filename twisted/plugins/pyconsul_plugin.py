"""Makes ``twistd pyconsul`` known; Twisted reads this file whenever it looks for plugins."""

from twisted.application.service import ServiceMaker

pyconsul = ServiceMaker("pyconsul", "pyconsul.cli.options", "A pyconsul agent", "pyconsul")
