``/v1/agent/`` is whole: services with hash-based waiting, their health as JSON and as text, maintenance, metrics, the log as it is written, the machine, reload.
