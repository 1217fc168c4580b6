``pyconsul.client`` is an API for programs, waiting or with Deferreds.
