"""Tokens: what is kept of them, what they open, and how quickly they are worth nothing."""

import json
import stat

import pytest
from supervisor.boxes import basic

from edgeml.errors import ConflictError, NotInstalledError, RequestError, StateError
from edgeml.supervisor.tokens import Tokens


def test_a_token_is_shown_once_and_kept_as_a_hash(tmp_path):
    tokens = Tokens(tmp_path, clock=lambda: 5.0)
    secret = tokens.create("ci", ["push"])
    path = tmp_path / "tokens.json"
    assert secret.startswith("edgeml_") and len(secret) == len("edgeml_") + 43
    assert secret not in path.read_text() and secret[7:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    [token] = tokens.list()
    assert (token.name, token.scopes, token.created) == ("ci", ("read", "push"), 5.0)
    assert tokens.check(secret) == token
    assert tokens.check(secret[:-1]) is None and tokens.check("") is None and tokens.check("edgeml_é\ud800") is None


def test_another_process_sees_what_was_made_and_revoked(tmp_path):
    ours, theirs = Tokens(tmp_path), Tokens(tmp_path)
    assert theirs.list() == ()
    secrets = [ours.create(name, []) for name in "abc"]
    assert all(theirs.check(secret) for secret in secrets)
    ours.revoke("b")
    assert [theirs.check(secret) is not None for secret in secrets] == [True, False, True]
    (tmp_path / "tokens.json").unlink()
    assert theirs.list() == () and theirs.check(secrets[0]) is None


def test_names_and_scopes_are_checked(tmp_path):
    tokens = Tokens(tmp_path)
    tokens.create("ci", ["push", "release"])
    with pytest.raises(ConflictError, match="already"):
        tokens.create("ci", [])
    for name in ("", "a b", "-x", "x" * 65, "a\n"):
        with pytest.raises(RequestError, match="name"):
            tokens.create(name, [])
    with pytest.raises(RequestError, match="no scope 'admin'"):
        tokens.create("x", ["admin"])
    with pytest.raises(NotInstalledError, match="no token 'y'"):
        tokens.revoke("y")


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":2,"tokens":[]}', b'{"format":1,"tokens":[{}]}', b"[]"])
def test_a_damaged_file_lets_nobody_in(tmp_path, data):
    tokens = Tokens(tmp_path)
    secret = tokens.create("ci", [])
    (tmp_path / "tokens.json").write_bytes(data)
    with pytest.raises(StateError):
        tokens.check(secret)


class TestOverHttp:
    def test_without_a_token(self, box):
        said = box.ask("GET", "/v2/", token="")
        assert (said.status, said.code) == (401, "UNAUTHORIZED")
        assert said.headers["www-authenticate"] == 'Basic realm="edgeml"'
        said = box.ask("GET", "/v1/models", token="")
        assert (said.status, said.code) == (401, "unauthorized") and "edgeml token create" in said.json["error"]
        assert said.headers["www-authenticate"] == 'Bearer realm="edgeml"'
        assert box.ask("GET", "/healthz", token="").json == {"live": True}
        assert box.ask("GET", "/openapi.json", token="").status == 200

    def test_bearer_and_basic(self, box):
        assert box.ask("GET", "/v2/").status == 200
        assert box.ask("GET", "/v2/", token="", Authorization=basic(box.token)).status == 200
        assert box.ask("GET", "/v2/", token="", Authorization=basic(box.token, "")).status == 200

    @pytest.mark.parametrize(
        "said",
        ["Bearer edgeml_wrong", "Bearer", "Basic !!!", "Basic " + "A" * 50, basic("edgeml_wrong"), "Digest x", "é"],
    )
    def test_an_invalid_token_opens_nothing_not_even_what_is_open(self, box, said):
        assert box.ask("GET", "/v2/", token="", Authorization=said).status in (400, 401)
        assert box.ask("GET", "/v1/status", token="", Authorization=said).status in (400, 401)

    def test_a_revoked_token_is_worth_nothing_at_once_on_the_same_connection(self, box):
        token = box.tokens.create("short", ["push"])
        with box.wire() as wire:
            assert wire.ask("GET", "/v2/", token=token).status == 200
            box.tokens.revoke("short")
            assert wire.ask("GET", "/v2/", token=token).status == 401

    def test_scopes(self, box):
        reads, pushes = box.tokens.create("r", []), box.tokens.create("p", ["push"])
        for method, path in (
            ("POST", "/v2/door/blobs/uploads/"),
            ("PUT", "/v2/door/manifests/1"),
            ("POST", "/v1/pulls"),
            ("POST", "/v1/models/door/activate"),
        ):
            said = box.ask(method, path, token=reads)
            assert said.status == 403 and said.code in ("DENIED", "forbidden"), path
        assert box.ask("POST", "/v2/door/blobs/uploads/", token=pushes).status == 202
        said = box.ask("POST", "/v1/models/door/rollback", token=pushes)
        assert said.status == 403 and "no scope 'release'" in said.json["error"]

    def test_a_damaged_file_is_an_error_and_no_way_in(self, box):
        path = box.store.root / "tokens.json"
        path.write_text(json.dumps({"format": 9}))
        assert box.ask("GET", "/v1/status").status == 500
        assert box.ask("GET", "/healthz", token="").status == 200

    def test_a_page_of_somebody_else_cannot_use_a_browsers_password(self, box):
        for origin, status in (("http://evil.example", 403), ("null", 403), ("http://box", 202)):
            said = box.ask("POST", "/v2/door/blobs/uploads/", Authorization=basic(box.token), token="", Origin=origin)
            assert said.status == status
        assert box.ask("GET", "/v2/", Origin="http://evil.example").status == 200
