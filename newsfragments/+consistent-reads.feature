Consistent reads take half of the CPU time: those of one turn that ask for the same share their answer, too, and with three servers a follower's question to the leader needs no other server.
