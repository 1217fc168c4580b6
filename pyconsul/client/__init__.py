"""The API for programs; every command of the command line stands on it.

A request is declared once, as a function that gives a ``Call``, in the module of its subject
(``kv``, ``agent``, ``catalog``, ``health``, ...). Two clients perform calls::

    from pyconsul.client import kv
    from pyconsul.client.blocking import Client

    with Client() as consul:
        consul.do(kv.put("colour", b"blue"))
        pair = consul.do(kv.get("colour"))

``pyconsul.client.twisted.Client`` is the same with Deferreds. ``ask`` instead of ``do`` also gives
the index to wait on.
"""
