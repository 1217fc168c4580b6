The systemd unit has a watchdog, and says when it reloads: an agent that does nothing for a minute is started again.
