News of members is passed on as soon as it comes: 30 agents that start together know each other half a second after the last one runs, not two.
