``/v1/event`` and ``pyconsul event`` fire and list user events with filters by node, service and tag; they cross between pyconsul and real Consul agents.
