``-join`` and ``-join-wan`` join once at the start and end the agent if nobody answers.
