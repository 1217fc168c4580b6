An agent whose process stood still reads what has come in meanwhile before it takes suspected members for failed.
