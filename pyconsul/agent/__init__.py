"""A MultiService for each role, and the one function that makes it."""
