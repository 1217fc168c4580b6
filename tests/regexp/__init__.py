"""Tests of pyconsul.regexp."""
