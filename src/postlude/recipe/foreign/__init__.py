"""Names and files of other libraries: what TRL and verl call our settings, and their configurations as recipes."""
