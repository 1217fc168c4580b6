The ``pyconsul`` command has ``agent``, ``catalog``, ``force-leave``, ``info``, ``join``, ``keygen``, ``kv``, ``leave``, ``members``, ``reload``, ``validate`` and ``version``.
