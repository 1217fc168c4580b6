Servers and client agents find each other by gossip, elect a leader, and answer every request from any of them.
