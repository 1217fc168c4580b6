"""Simulated worlds, fakes and real-process fixtures, for our tests and yours."""
