Many agents that join one at the same time are known to all within a tenth of a second, not a second or more: whoever lets somebody in tells many others at once.
