"""Floor 3: the edge to the network, and the only floor that opens sockets."""
