Writes through followers and client agents are passed on to the leader many at a time.
