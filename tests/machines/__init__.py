"""Machines made of namespaces of this one, each with an address, processes and an ssh server of its own."""
