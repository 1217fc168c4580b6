The HTTP API serves ``/v1/kv``, ``/v1/catalog``, ``/v1/health``, ``/v1/status`` and ``/v1/agent`` on a channel of its own under Klein, with blocking queries and the three consistency modes.
