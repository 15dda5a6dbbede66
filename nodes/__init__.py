"""The nodes: sockets, schemas and the host's devices. All computation is in `dawn_model`."""
