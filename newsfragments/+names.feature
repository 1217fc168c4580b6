Two nodes with one name are told apart by a vote of the others; the one that loses for two minutes ends and says why.
