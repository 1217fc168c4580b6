A server that leaves goes on until the others no longer count on its vote, for five seconds more than ``leave_drain_time`` at most; two servers could be left without a leader.
