"""Ray Serve applications: scoring, members, premiums."""
