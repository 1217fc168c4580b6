"""Tests of pyconsul.filters."""
