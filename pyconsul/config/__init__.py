"""Every setting, declared once; files, flags and checks derive from it."""
