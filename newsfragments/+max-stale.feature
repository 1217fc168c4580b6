``?max_stale=`` is kept: an answer that is older is asked for again, of the leader.
