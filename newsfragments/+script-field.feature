``Script`` of checks, as Consul 0.7 has it, is taken over HTTP where ``enable_script_checks`` is set.
