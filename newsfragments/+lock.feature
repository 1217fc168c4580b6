``lock`` runs a program while it holds a lock or a place of a semaphore, by the conventions of Consul.
