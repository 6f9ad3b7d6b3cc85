"""The gateway: the data plane, the control plane's admin API, the supervisor and the command line."""
