``/v1/kv`` lists keys page by page with ``?limit=`` and ``?after=``, which Consul does not know.
