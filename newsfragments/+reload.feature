SIGHUP and ``pyconsul reload`` take over services, checks, log level and node metadata from changed files, one difference at a time; ``reload -diff`` says beforehand what would change.
