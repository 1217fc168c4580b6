Most of Consul's metrics are there: timings of the HTTP API, DNS and writes, Raft's, gossip's and autopilot's figures; `telemetry` sends them to statsd, DogStatsD and statsite, and filters them.
