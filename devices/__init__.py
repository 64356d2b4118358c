"""The machines that measurements are made on: what is known of them, and the machine that this runs on."""
