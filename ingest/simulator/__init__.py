"""In: a configuration of a simulated Reddit.
Out: dump files in Reddit's format, and the truth about every comment and community."""
