``/v1/operator/keyring`` and ``pyconsul keyring`` list and rotate gossip keys on all agents; keys are kept in ``serf/local.keyring`` as Consul does.
