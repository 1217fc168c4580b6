The first request that no compiled route serves holds up nobody else while the agent loads what it needs for that.
