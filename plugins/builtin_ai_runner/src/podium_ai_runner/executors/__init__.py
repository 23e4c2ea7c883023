"""Where AI jobs run: containers, processes and HTTP services behind one ``Worker``."""
