Servers of several datacenters share the WAN pool: ``join -wan``, ``members -wan``, ``?dc=``, ``catalog/datacenters`` by distance, keys of all pools at once.
