Gossip speaks memberlist's wire format: real Consul client agents and serf agents share a pool with pyconsul's.
