"""Tables to pictures: colours, exact cell rasters, figures, GeoTIFF and self-contained HTML reports.

The way of a map: a `ColourBasis` or a legend gives each row a colour, a `Frame` and a `RowMap` say which row each pixel
shows, and `figures.map_figure` or `rasterise.write_geotiff` writes it. A grid goes the same way tile by tile: a
`grids.GridCanvas` paints it and `geotiff.tile_sink` writes it.
"""
