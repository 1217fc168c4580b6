``pyconsul tls ca create`` and ``tls cert create`` make a CA and certificates for servers, other agents and their clients, with the names that Consul gives files and what is in them.
