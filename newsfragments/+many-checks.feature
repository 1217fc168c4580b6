A node with very many checks spends a third of the CPU time that Consul does: checks that are due at about the same time run together. Registrations go to the servers several at a time.
