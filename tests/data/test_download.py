"""Downloads against a local server that cuts, refuses and lies."""

import hashlib
import http.server
import os
import threading
import time

import pytest

from bigtrain.config.errors import ConfigError, DataError
from bigtrain.data.download import Remote, cache, fetch

BODY = bytes(range(256)) * 4096  # 1 MiB
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves BODY; what goes wrong is set on the server."""

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.seen.append(wanted)
        if server.to:
            self.send_response(302)
            self.send_header("Location", server.to.pop(0))
            self.end_headers()
            return
        if server.status:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start >= len(server.body):
            self.send_error(416)
            return
        body = server.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.seen, made.status, made.ranges, made.cuts, made.body = [], None, True, [], BODY
        made.to = []
        made.url = f"http://127.0.0.1:{made.server_port}/data.gz"
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def get(server, path, **options):
    remote = Remote(server.url, options.pop("checksum", MD5), options.pop("limit", 2 << 20))
    return fetch(remote, path, wait=0.01, timeout=5, **options)


def left(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def test_a_file_is_fetched_once(server, tmp_path, capsys):
    path = tmp_path / "new" / "data.gz"
    assert get(server, path).read_bytes() == BODY
    assert get(server, path) == path
    assert server.seen == [None]
    assert left(path) == ["data.gz"]
    assert capsys.readouterr().err == f"fetching {server.url}\n"


def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path):
    server.cuts = [300_000, 200_000]
    assert get(server, tmp_path / "data.gz").read_bytes() == BODY
    assert server.seen == [None, "bytes=300000-", "bytes=500000-"]


def test_the_next_call_goes_on_where_the_last_one_gave_up(server, tmp_path):
    path = tmp_path / "data.gz"
    server.cuts = [300_000]
    with pytest.raises(DataError, match="the connection was cut after 300000 of 1048576 bytes"):
        get(server, path, retries=0)
    assert left(path) == ["data.gz.part"]
    assert get(server, path).read_bytes() == BODY
    assert server.seen == [None, "bytes=300000-"]
    assert left(path) == ["data.gz"]


def test_what_a_dead_process_left_is_taken_over_but_not_what_a_living_one_writes(server, tmp_path):
    path = tmp_path / "data.gz"
    dead, living = tmp_path / "data.gz.00000001.part", tmp_path / "data.gz.00000002.part"
    dead.write_bytes(BODY[:1000])
    os.utime(dead, (time.time() - 3600,) * 2)
    living.write_bytes(BODY[:2000])
    assert get(server, path).read_bytes() == BODY
    assert server.seen == ["bytes=1000-"]
    assert left(path) == ["data.gz", living.name]


def test_a_server_that_refuses_ranges_is_read_from_the_start(server, tmp_path):
    server.ranges, server.cuts = False, [300_000]
    assert get(server, tmp_path / "data.gz").read_bytes() == BODY
    assert server.seen == [None, "bytes=300000-"]


def test_a_part_that_was_already_whole_is_accepted(server, tmp_path):
    (tmp_path / "data.gz.part").write_bytes(BODY)
    assert get(server, tmp_path / "data.gz").read_bytes() == BODY
    assert server.seen == [f"bytes={len(BODY)}-"]


def test_a_wrong_checksum_removes_the_file(server, tmp_path):
    path = tmp_path / "data.gz"
    with pytest.raises(DataError) as caught:
        get(server, path, checksum="sha256:" + "0" * 64)
    digest = hashlib.sha256(BODY).hexdigest()
    assert str(caught.value) == (
        f"{server.url}: has sha256 {digest}, not {'0' * 64}; what was fetched is removed\n"
        "  try again, or set data.url to another mirror"
    )
    assert left(path) == []


def test_a_missing_file_is_not_asked_for_twice(server, tmp_path):
    server.status = 404
    with pytest.raises(DataError, match="can't be fetched: HTTP 404 Not Found\n  put the file at "):
        get(server, tmp_path / "data.gz")
    assert len(server.seen) == 1


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.status = 503
    with pytest.raises(DataError, match="HTTP 503"):
        get(server, tmp_path / "data.gz", retries=2)
    assert len(server.seen) == 3


def test_too_large_a_file_is_refused(server, tmp_path):
    with pytest.raises(DataError) as caught:
        get(server, tmp_path / "data.gz", limit=1000)
    assert str(caught.value) == f"{server.url}: is larger than the 1000 bytes expected\n  is the address right?"


def test_two_at_once_both_get_the_whole_file(server, tmp_path):
    path = tmp_path / "data.gz"
    failures = []

    def work():
        try:
            assert get(server, path).read_bytes() == BODY
        except Exception as error:  # reported by the assertion below, in the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert left(path) == ["data.gz"]


def test_only_web_addresses_are_fetched(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.url: 'file:///etc/passwd' is no web address"):
        fetch(Remote("file:///etc/passwd", MD5, 100), tmp_path / "x")


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/data.gz", "file:///etc/passwd"])
def test_a_redirect_to_what_is_no_web_address_is_not_followed(server, tmp_path, to):
    server.to = [to]
    with pytest.raises(DataError, match=f"^{server.url}: .*(redirects to |edirection to url '){to}"):
        get(server, tmp_path / "data.gz")
    assert len(server.seen) == 1


def test_a_redirect_within_the_web_is_followed(server, tmp_path):
    server.to = [server.url + "?elsewhere"]
    assert get(server, tmp_path / "data.gz").read_bytes() == BODY


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="can't be written: File exists\n  set BIGTRAIN_CACHE=FOLDER"):
        get(server, tmp_path / "file" / "data.gz")


def test_the_cache_follows_the_environment(monkeypatch):
    monkeypatch.delenv("BIGTRAIN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert str(cache("mnist")) == "/c/bigtrain/mnist"
    monkeypatch.setenv("BIGTRAIN_CACHE", "/b")
    assert str(cache("mnist")) == "/b/mnist"
    monkeypatch.delenv("BIGTRAIN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache("mnist").parts[-3:] == (".cache", "bigtrain", "mnist")
