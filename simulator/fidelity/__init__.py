"""Whether Microsoft's own client library takes the simulator for Microsoft Graph."""
