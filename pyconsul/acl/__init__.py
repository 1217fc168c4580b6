"""Rules, policies and decisions, pure."""
