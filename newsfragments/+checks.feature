Health checks of the kinds TTL, HTTP, TCP, script and alias run on the agent, and only their changes travel.
