"""The solver over gRPC and over the protocols of OpenAI."""
