"""The faces of the node: what peers and operators reach over HTTP and gRPC."""
