``info`` counts the gossip that no installed key opens; it is dropped unread, and logged at a bounded rate.
