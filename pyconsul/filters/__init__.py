"""Filter expressions (``?filter=``): text to tree, selectors out of structs, tests of rows."""
