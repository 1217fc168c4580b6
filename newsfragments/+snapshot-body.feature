A snapshot that is restored over HTTP is collected in a file instead of in memory.
