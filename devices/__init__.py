"""The machines that measurements are made on. This version knows one: the machine it runs on."""
