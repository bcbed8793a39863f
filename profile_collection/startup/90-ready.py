"""The last file. IPython goes on when one fails, and skips those after it: PROFILE_READY says that all of them ran."""

PROFILE_READY = True

print("""\
Scans are kept in runs/.
  a scan that is kept run = find_run(catalog, -1) or catalog[uid]; reshape(run, key) of one of its readings""")
