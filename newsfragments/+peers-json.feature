`raft/peers.json` brings the servers that are left after an outage back, in the form of a list of addresses as well as of objects; `raft/peers.info` explains it.
