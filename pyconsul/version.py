"""The version, in one place; it reaches ``pyconsul version``, the gossip tags and the package."""

VERSION = "0.1.0"
