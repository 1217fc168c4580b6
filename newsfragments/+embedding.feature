`pyconsul.agent.Agent` is an agent as a Twisted service; `pyconsul.testing.agents` and fixtures for pytest run agents in tests.
