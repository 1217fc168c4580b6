Raft between servers has pre-vote, check-quorum, pipelined batches over AMP and reads that share one quorum round; its log is synced in groups and survives torn tails.
