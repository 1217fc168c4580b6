``pyconsul simulate`` and ``pyconsul.testing.World`` run whole servers in virtual time through faults; a seed repeats a run exactly, and ``-jobs`` makes several runs at once.
