"""Twisted protocols and drivers: gossip, Raft and RPC over AMP, DNS, the reactor."""
