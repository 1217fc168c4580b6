Default reads are linearizable: a leader answers them by itself only while a majority has promised it their votes, and asks a majority otherwise.
