"""A worker and a reducer run on what is recorded: captures, recordings, stored runs, and sources of a user's own."""
