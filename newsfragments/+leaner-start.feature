An agent starts with two thirds of the processor time: settings are structs, and a client loads nothing that only servers need.
