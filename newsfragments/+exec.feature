``exec`` runs a command on many nodes, by the conventions of Consul, where agents have ``disable_remote_exec = false``.
