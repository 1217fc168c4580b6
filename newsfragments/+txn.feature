``/v1/txn`` makes up to 64 operations on keys, nodes, services and checks, all or none.
