"""The last file. IPython goes on when one fails, and skips those after it: PROFILE_READY says that all of them ran."""

PROFILE_READY = True

print(f"""\
Simulated devices: dexela, shutter, sample_y, sample_x; a microscope. Scans are kept in runs/, crystal maps in maps/.
  a scan to try       RE(grid_scan_nd([dexela], sample_y, -1, 1, 11, sample_x, -1, 1, 15, **exposure))
  watch it            {server.url} in a browser; RE(live_view([dexela])) to align, until Ctrl-C twice and RE.stop()
  its crystal maps    cm.dataset, while it runs too; show() draws them, show(scan=1) those of scan 1
  any reading         show("dexela_stats_total"), show("n_rows", 1): where the motors were, of the last scan or scan 1
  a scan that is kept run = find_run(catalog, -1) or catalog[uid]; reshape(run, "dexela_stats_total")
  its maps once more  redo(find_derived(catalog, -1)[-1], catalog): do they come out the same?""")
