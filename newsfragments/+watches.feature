Watches: in the configuration, with programs, URLs and Python functions as handlers, and ``pyconsul watch``.
