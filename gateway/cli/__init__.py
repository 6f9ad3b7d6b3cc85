"""The `graft` command. Its exit codes are in `gateway.cli.output`."""
