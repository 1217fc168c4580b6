``services register`` and ``deregister``, ``maint`` and ``monitor`` are there, and ``reload`` has ``-diff``.
