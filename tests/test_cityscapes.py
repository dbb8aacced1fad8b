import hashlib
import json
import sys
import zipfile
from urllib.parse import parse_qs

import pandas as pd
import pytest
from made_trees import make_cityscapes

from cseg.datasets import cityscapes
from cseg.datasets.cityscapes import Options
from cseg.errors import ConfigError, DataError
from cseg.stages.fetch import fetch, listed_samples
from cseg.stages.index import index

RELAXED = {"relax_counts": True}
labels = pytest.importorskip("cityscapesscripts.helpers.labels").labels


def zip_folder(root, folder, target):
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("license.txt", "")
        for path in sorted((root / folder).rglob("*.png")):
            archive.write(path, path.relative_to(root))
    return target


def test_classes_are_those_of_the_official_table():
    info = cityscapes.info(Options())
    assert len(info.class_names) == 19
    for row in labels:
        if row.id < 0:
            continue
        expected = row.trainId if not row.ignoreInEval else 255
        assert info.label_map[row.id] == expected
        if expected != 255:
            assert info.class_names[expected] == row.name
            assert info.palette[expected] == row.color
    assert len(info.label_map) == 34


def test_pairs_are_sorted_by_city_and_mapped_to_train_ids(tmp_path):
    make_cityscapes(tmp_path)
    fetch("cityscapes", tmp_path, options=RELAXED, out=tmp_path / "fetch.json")
    index(
        tmp_path / "fetch.json",
        tmp_path / "index.csv",
        dataset_json=tmp_path / "dataset.json",
        workers=2,
    )
    table = pd.read_csv(tmp_path / "index.csv")
    assert table["id"].tolist() == [
        "aachen_000000_000019", "aachen_000002_000019", "zurich_000001_000019",
        "frankfurt_000000_000019", "munster_000001_000019",
    ]  # fmt: skip
    # Painted with 0 (ignored), 7 (road), 26 (car) and 33 (bicycle), 96 pixels each.
    counted = table.loc[0, ["pixels_ignored", "pixels_0", "pixels_13", "pixels_18"]]
    assert counted.tolist() == [96] * 4


def test_official_sizes_are_asked_for(tmp_path):
    make_cityscapes(tmp_path)
    with pytest.raises(DataError, match=r"train list of cityscapes has 3 images instead of 2975"):
        listed_samples("cityscapes", tmp_path, work=tmp_path, options=Options())


def test_archives_in_data_dir_are_unpacked_once(tmp_path):
    make_cityscapes(tmp_path / "source")
    data = tmp_path / "data"
    data.mkdir()
    for folder, name in cityscapes.ARCHIVES.items():
        zip_folder(tmp_path / "source", folder, data / name)
    cityscapes.fetch(data, tmp_path / "work", Options(relax_counts=True))
    assert len(cityscapes.samples(data, tmp_path / "work", Options(relax_counts=True))) == 5
    before = (data / "gtFine").stat().st_mtime_ns
    cityscapes.fetch(data, tmp_path / "work", Options(relax_counts=True))
    assert (data / "gtFine").stat().st_mtime_ns == before


def test_a_missing_archive_is_named_with_both_ways_out(tmp_path):
    make_cityscapes(tmp_path)
    (tmp_path / "gtFine").rename(tmp_path / "elsewhere")
    message = r"neither gtFine nor gtFine_trainvaltest\.zip .*put the archive .*download: true"
    with pytest.raises(DataError, match=message):
        cityscapes.fetch(tmp_path, tmp_path / "work", Options(relax_counts=True))


def test_the_package_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cityscapesscripts.helpers.labels", None)
    with pytest.raises(ConfigError, match="pip install 'cityscapesscripts=="):
        cityscapes.info(Options())


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The official site on loopback: logs in "me" with "pass word&", serves two archives."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    import requests

    make_cityscapes(tmp_path / "source")
    (tmp_path / "data").mkdir()
    served = {
        name: zip_folder(tmp_path / "source", folder, tmp_path / "source" / name).read_bytes()
        for folder, name in cityscapes.ARCHIVES.items()
    }
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, code, body=b"", **headers):
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if (form["username"], form["password"]) == (["me"], ["pass word&"]):
                self.answer(302, Location="/", Set_Cookie="in=1; Path=/")
            else:
                self.answer(200)

        def do_GET(self):
            seen.append(self.path)
            names = list(served)
            if self.path == "/login":
                self.answer(200)
            elif "in=1" not in self.headers.get("Cookie", ""):
                self.answer(403)
            elif self.path == "/downloads/?list":
                packages = [
                    {"name": n, "packageID": str(i), "size": "1KB", "thirdparty": "0"}
                    for i, n in enumerate(names)
                ]
                self.answer(200, json.dumps(packages).encode())
            else:
                body = served[names[int(self.path[-1])]]
                if self.path.startswith("/md5-sum"):
                    body = f"{hashlib.md5(body).hexdigest()}  name".encode()
                self.answer(200, body)

        def log_message(self, *arguments):
            pass

    class Loopback(requests.adapters.HTTPAdapter):
        def send(self, request, **options):
            official = request.url
            request.url = official.replace("https://www.cityscapes-dataset.com", address)
            response = super().send(request, **options)
            request.url = official  # cookies belong to the official host
            return response

    class Session(requests.Session):
        def __init__(self):
            super().__init__()
            self.mount("https://", Loopback())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(requests, "Session", Session)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "store"))
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


DOWNLOAD = Options(relax_counts=True, download=True)


def test_it_is_downloaded_with_credentials_from_the_environment(tmp_path, site, monkeypatch, capfd):
    monkeypatch.setenv(cityscapes.USERNAME, "me")
    monkeypatch.setenv(cityscapes.PASSWORD, "pass word&")
    data = tmp_path / "data"
    cityscapes.fetch(data, tmp_path / "work", DOWNLOAD)
    assert len(cityscapes.samples(data, tmp_path / "work", Options(relax_counts=True))) == 5
    output = capfd.readouterr()
    assert "pass word" not in output.out + output.err
    assert not any(b"pass word" in p.read_bytes() for p in data.rglob("*") if p.is_file())


def test_wrong_credentials_are_refused_without_being_shown(tmp_path, site, monkeypatch, capfd):
    monkeypatch.setenv(cityscapes.USERNAME, "me")
    monkeypatch.setenv(cityscapes.PASSWORD, "hunter2")
    with pytest.raises(DataError, match=r"refuses these credentials; correct CITYSCAPES") as caught:
        cityscapes.fetch(tmp_path / "data", tmp_path / "work", DOWNLOAD)
    output = capfd.readouterr()
    assert "hunter2" not in output.out + output.err + str(caught.value)


def test_no_credentials_is_an_error_not_a_question(tmp_path, site, monkeypatch):
    monkeypatch.delenv(cityscapes.USERNAME, raising=False)
    with pytest.raises(DataError, match=r"no Cityscapes credentials: set CITYSCAPES_USERNAME"):
        cityscapes.fetch(tmp_path / "data", tmp_path / "work", DOWNLOAD)
    assert site == []


def test_the_downloaders_own_store_is_used(tmp_path, site, monkeypatch):
    monkeypatch.delenv(cityscapes.USERNAME, raising=False)
    store = tmp_path / "store" / "cityscapesscripts" / "credentials.json"
    store.parent.mkdir(parents=True)
    store.write_text(json.dumps({"username": "me", "password": "pass word&"}))
    cityscapes.fetch(tmp_path / "data", tmp_path / "work", DOWNLOAD)
    assert (tmp_path / "data" / "gtFine" / "val").is_dir()
