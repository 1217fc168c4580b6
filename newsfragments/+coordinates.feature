``/v1/coordinate``, ``?near=`` and ``pyconsul rtt`` tell how far nodes are from each other.
