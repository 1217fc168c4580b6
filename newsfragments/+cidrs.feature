``serf_lan_allowed_cidrs`` and ``serf_wan_allowed_cidrs`` keep members from other networks out.
