"""Membership: SWIM with Lifeguard in the wire format of memberlist, pure."""
