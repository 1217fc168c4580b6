A snapshot is also taken once the log behind the last one has 64 MiB and more bytes than that one, and at once after a user's restore.
