Streams of gossip are inside TLS between members that have certificates (tag ``gossip_tls``), on the same ports on which members of other makes go on as ever.
