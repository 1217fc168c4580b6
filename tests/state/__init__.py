"""Tests of pyconsul.state."""
