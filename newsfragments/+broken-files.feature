Errors in configuration files say in which file and line they are, and which name may have been meant.
