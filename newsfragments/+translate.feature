``translate_wan_addrs`` puts the WAN addresses into answers about other datacenters, over HTTP and DNS.
