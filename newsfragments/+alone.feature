A server that has the only vote leads at once, where it waited for an election timeout.
