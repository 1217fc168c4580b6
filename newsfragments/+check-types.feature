Checks of all of Consul's types run: HTTP over TLS, UDP, gRPC, HTTP/2 ping, Docker, the operating system's services, aliases of other nodes, and functions in Python (entry points `pyconsul.checks`).
