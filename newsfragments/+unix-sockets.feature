``unix_sockets`` gives owner, group and mode of Unix sockets; a socket that was left behind is replaced.
