Settings without effect yet are named in a warning, and what Consul refuses (ports used twice, ranges, cipher suites, ...) is refused.
