"""Every door to the outside: REST, command line, telemetry."""
