"""How the development server speaks flagd's protocols: OFREP over HTTP, and the gRPC services."""
