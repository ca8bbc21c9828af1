"""What all packages share: errors, seeds, security, logging, metrics, the life of a gRPC server, the command line."""
