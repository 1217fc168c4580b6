``/v1/session`` creates sessions with TTLs, checks and lock delays, and ``/v1/kv`` has ``?acquire=`` and ``?release=``.
