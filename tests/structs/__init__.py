"""Tests of pyconsul.structs."""
