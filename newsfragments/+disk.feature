A server whose disk is full or fails takes no part in consensus, says why, and is back by itself once the disk works again.
