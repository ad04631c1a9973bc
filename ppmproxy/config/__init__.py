"""Four layers of settings (defaults, file, environment, flags) into one checked object."""
