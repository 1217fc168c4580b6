Stale reads of followers are answered from what is kept, like those of the leader.
