Prepared queries go on to other datacenters (``Failover``: ``NearestN``, ``Datacenters``) when no instance is left at home.
