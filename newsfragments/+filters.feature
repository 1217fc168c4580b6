``?filter=`` chooses rows of the catalog, of health checks and of the agent's own services and checks by a boolean expression, with Consul's grammar, selectors and error texts.
