Restoring a large snapshot, a user's or the leader's, no longer holds up a server's other work while its last piece is applied.
