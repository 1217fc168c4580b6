DNS answers for nodes and services (A, AAAA, SRV, TXT, PTR, SOA, NS), by UDP and TCP, with recursors.
