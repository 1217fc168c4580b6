"""The serf layer above SWIM: Lamport clocks, intents, tags, pure."""
