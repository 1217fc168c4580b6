A leader that is told to end hands leadership over first, also when it does not leave, so that servers can be restarted one after another under load.
