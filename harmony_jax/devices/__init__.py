"""Where programs run: the mesh, processes, the host's memory, compiled programs."""
