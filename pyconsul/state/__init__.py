"""The replicated state: tables, watches and the commands that change them, pure."""
