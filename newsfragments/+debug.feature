``pyconsul debug`` records for some time what an agent says of itself, and packs it into an archive.
