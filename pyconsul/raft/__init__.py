"""Consensus: a pure Raft core, its log, messages and configuration."""
