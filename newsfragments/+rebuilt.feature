A node that was rebuilt under its old name gets into the catalog at once, though nobody had seen the old one fail.
