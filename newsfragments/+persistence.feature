Services and checks that are registered over HTTP, maintenance and the states of TTL checks are kept in the data folder in Consul's own form and come back after a restart.
