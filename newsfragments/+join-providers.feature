`-retry-join` takes providers: `provider=dns-srv`, `provider=file`, `provider=exec` and entry points of `pyconsul.join`.
