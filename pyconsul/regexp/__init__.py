"""Regular expressions in RE2's syntax, as Consul's users write them."""
