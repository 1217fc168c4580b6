"""The API for programs; every command of the command line stands on it."""
