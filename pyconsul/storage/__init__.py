"""Durable term, vote and log: the only code that asks the disk to sync."""
