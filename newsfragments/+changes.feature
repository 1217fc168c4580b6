``?changed`` on reads of keys, nodes, services and instances tells only what came, changed and went since
``?index=``, and ``/v1/stream`` gives the same as server-sent events; Consul has neither.
