An agent that is started again finds its cluster back by ``serf/local.snapshot``, without any address to join.
