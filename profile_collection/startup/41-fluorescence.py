"""Fluorescence: element maps that are current while any scan of the detector runs. It needs PyMca.

A scan is safe from it: what goes wrong is logged and counted (`fit.stats`), and the scan goes on.
"""

from importlib.util import find_spec

from bluesky_ext import FluorescenceFit, FluorescenceMap

if find_spec("PyMca5") is None:
    print("No element maps: they need PyMca, pip install 'bluesky-ext[xrf]'.")
else:
    fit = FluorescenceFit(f"{xspress3.name}_spectra", mca_config, live_time=f"{xspress3.name}_live_time")
    elements = FluorescenceMap(f"{xspress3.name}_spectra", mca_config)

    fit.subscribe(elements)
    RE.subscribe(fit)

    # In the page: the maps, the sum of all spectra and the latest fit.
    shown += [elements, fit]

    # Beside the scans are kept the fits and the maps.
    fit.subscribe(saver)
    elements.subscribe(saver)

    print("""\
Fluorescence with simulated devices: xspress3, film_y, film_x.
  a scan to try       RE(grid_scan([xspress3], film_y, -0.1, 0.1, 9, film_x, -0.1, 0.1, 11))
  its element maps    elements.dataset, while it runs too; elements.curve(seq_num) is the fit of a point""")
