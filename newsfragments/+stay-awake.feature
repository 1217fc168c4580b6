A leader that is asked for consistent reads without a pause waits awake for the answers of servers nearby.
