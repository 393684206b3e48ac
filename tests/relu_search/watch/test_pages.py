"""The page as a browser gets it: whom it answers, what it allows, and that all text is escaped."""

from __future__ import annotations

import http.client
import json
import os
from html import unescape

import pytest
from helpers.report_pages import NASTY, Page
from helpers.watched_runs import ended, epoch, event, make_run, request

from relu_search.watch.run_watch import FolderWatch
from relu_search.watch.server import application, bound_socket, serve
from search_spaces import InputError

PARTS = [
    *("progress", "running", "board", "learning-curves", "accuracy-relus", "placement-map"),
    *("stopped", "log"),
]


@pytest.fixture(autouse=True)
def reads_at_once(monkeypatch):
    """A folder is read again at each request after a change."""
    monkeypatch.setattr("relu_search.watch.run_watch._IDLE", 0)


@pytest.fixture
def run(tmp_path):
    epochs = [epoch(i, e) for i in (0, 1) for e in (1, 2, 3)]
    return make_run(tmp_path / "run", [ended(0), ended(1)], epochs, [event(0, "search begun")])


@pytest.fixture
def app(run):
    return application(FolderWatch(str(run.path)))


def page_of(app, path="/"):
    """The page, read strictly, after redirections."""
    status, headers, text = request(app, path)
    if status == 307:
        return page_of(app, headers["location"])
    assert status == 200, text
    return Page(text.replace("<!doctype html>\n", ""))


def changes_of(app, query=""):
    """What the page gets when it asks for changes."""
    address = page_of(app).all("body")[0]["data-changes"]
    status, headers, text = request(app, f"{address}?{query}")
    assert (status, headers["content-type"]) == (200, "application/json")
    return json.loads(text)


# --- whom it answers, and what it allows ----------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/changes", "/run/x", "/static/watch.js", "/nothing"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "0.0.0.0", ""]
)
def test_another_host_is_refused(host, path, app):
    assert request(app, path, host=host)[0] == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000"])
def test_this_machine_is_answered(host, app):
    assert request(app, "/static/watch.js", host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_sent(method, app, run):
    paths = ["/", "/changes", f"/run/{FolderWatch(str(run.path)).single.key}", "/static/watch.js"]
    assert {request(app, path, method=method)[0] for path in paths} == {405}


@pytest.mark.parametrize("path", ["/", "/run/none", "/static/watch.js", "/nothing"])
def test_every_answer_allows_its_own_scripts_alone(path, app):
    _, headers, _ = request(app, path)
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert not any("http" in rule or "*" in rule or "eval" in rule for rule in policy.values())
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["../server.py", "server.py", "..%2fserver.py", "watch.css/x", ""])
def test_no_other_file_is_served(name, app):
    assert request(app, f"/static/{name}")[0] == 404


def test_the_page_loads_only_from_its_own_server(app):
    page = page_of(app)
    addresses = [a["src"] for a in page.all("script") if "src" in a]
    addresses += [a["href"] for a in page.all("link")]
    assert len(addresses) == 6
    for address in addresses:
        if address != "data:,":
            assert address.startswith("/static/")
            assert request(app, address)[0] == 200


def test_it_listens_on_the_loopback_address_until_it_is_interrupted(run):
    bound = bound_socket(None)
    host, port = bound.getsockname()
    assert host == "127.0.0.1"
    seen = []

    def begun():
        connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("GET", "/static/watch.js")
        seen.append(connection.getresponse().status)
        connection.close()
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 cannot be used"):
            bound_socket(port)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(FolderWatch(str(run.path)), bound, begun)
    assert seen == [200]
    bound.close()
    bound_socket(port).close()  # it is free again


# --- what changes ---------------------------------------------------------------------------------


def test_the_page_has_all_parts(app):
    page = page_of(app)
    assert [a["id"] for a in page.all("section")] == PARTS
    assert "interrupted: no process of this machine works on it" in page.text
    assert "relu-search search --resume" in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_only_what_has_changed_is_sent(app, run):
    first = changes_of(app)
    assert list(first) == PARTS
    known = ",".join(part["version"] for part in first.values())
    assert changes_of(app, f"known={known}") == {}
    run.add_event("trial started", 2, "01*3")
    changed = changes_of(app, f"known={known}")
    assert {"running", "log"} <= changed.keys() < set(PARTS) - {"board", "stopped"}
    assert "2:1 (2:1): started" in changed["log"]["html"]
    run.add_trial(ended(2, placement="01*3", relus=3))
    assert "01*3" in changes_of(app, f"known={known}")["board"]["html"]


def test_a_search_that_begins_to_run_is_seen(app, run):
    with run.lock():
        assert "<strong>running</strong>" in changes_of(app)["progress"]["html"]
    assert "interrupted" in changes_of(app)["progress"]["html"]


def test_the_curve_of_a_running_trial_grows(app, run):
    run.add_event("trial started", 2, "01*3")
    for number in (1, 2):
        run.add_epoch(epoch(2, number))
        curves = changes_of(app)["learning-curves"]["figure"]["data"]
        (own,) = [curve for curve in curves if curve["name"].startswith("trial 2, not ended")]
        assert own["x"] == [*range(1, number + 1)]


def test_a_filter_holds_in_tables_and_charts(app):
    one = changes_of(app, "filter=000010")
    assert "000010" in one["board"]["html"]
    assert "000001" not in one["board"]["html"]
    names = {curve["name"] for curve in one["learning-curves"]["figure"]["data"]}
    assert names == {"found 1: 000010"}
    none = changes_of(app, "filter=nothing+like+this")
    assert "No row has all words of the filter." in none["board"]["html"]


def test_a_run_without_a_finished_trial_has_a_page(tmp_path):
    app = application(FolderWatch(str(make_run(tmp_path).path)))
    assert "No trial has ended yet." in page_of(app).text
    assert list(changes_of(app)) == PARTS


def test_damage_is_told_beside_the_last_good_state(app, run):
    assert "0 of 9" not in page_of(app).text
    whole = run.table("trials.csv").read_text()
    run.table("trials.csv").write_text("x\n1\n")
    page = page_of(app)
    assert "The folder cannot be read" in page.text
    assert "000010" in page.text
    run.table("trials.csv").write_text(whole)
    assert "cannot be read" not in page_of(app).text


def test_a_folder_that_is_damaged_at_first_has_a_page(run):
    run.table("trials.csv").write_text("x\n1\n")
    app = application(FolderWatch(str(run.path)))
    page = page_of(app)
    assert "The folder cannot be read" in page.text
    assert [a["id"] for a in page.all("section")] == ["progress"]


def test_an_unexpected_fault_is_one_line(app, monkeypatch):
    def fail(*_):
        raise RuntimeError("<b>no\nluck</b>")

    page_of(app)
    monkeypatch.setattr("relu_search.watch.run_watch.progress", fail)
    path = page_address(app)
    sent = []
    with pytest.raises(RuntimeError):  # for the server's log
        request(app, path, sent=sent)
    assert sent[0]["status"] == 500
    assert sent[1]["body"] == b"RuntimeError: <b>no luck</b>"
    assert (b"content-type", b"text/plain; charset=utf-8") in sent[0]["headers"]


def page_address(app):
    return request(app, "/")[1]["location"]


# --- a folder -------------------------------------------------------------------------------------


def test_a_folder_lists_its_runs_with_links(tmp_path, run):
    make_run(tmp_path / "deeper" / "second", backbone="plain-5")
    (tmp_path / "notes").mkdir()
    app = application(FolderWatch(str(tmp_path)))
    page = page_of(app)
    assert "plain-5" in page.text
    links = [a["href"] for a in page.all("a") if a["href"].startswith("/run/")]
    assert len(links) == 2
    for link in links:
        assert [a["id"] for a in page_of(app, link).all("section")] == PARTS
        assert "/" in [a["href"] for a in page_of(app, link).all("a")]
    assert request(app, "/run/000000000000")[0] == 404


def test_a_new_run_appears_and_a_removed_one_goes(tmp_path):
    app = application(FolderWatch(str(tmp_path)))
    assert "no search in this folder yet" in page_of(app).text
    run = make_run(tmp_path / "new")
    assert "new" in changes_of(app)["runs"]["html"]
    for path in run.path.iterdir():
        path.unlink()
    assert "no search in this folder yet" in changes_of(app)["runs"]["html"]


def test_a_folder_that_is_gone_has_no_runs(tmp_path):
    folder = tmp_path / "folder"
    make_run(folder / "run")
    app = application(FolderWatch(str(folder)))
    assert len(page_of(app).all("a")) == 2
    folder.rename(tmp_path / "away")
    assert "no search in this folder yet" in page_of(app).text


def test_a_long_list_is_read_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("relu_search.watch.run_watch._LISTED", 0)
    make_run(tmp_path / "one")
    watched = FolderWatch(str(tmp_path))
    assert "not read yet" in watched.parts("")["runs"].content


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder_is_refused(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        FolderWatch(str(tmp_path / name))


# --- hostile folders ------------------------------------------------------------------------------


def check_escaped(page, scripts):
    """Nothing of a run folder has become an element or an attribute."""
    assert [
        a for a in page.all("script") if a.keys() - {"defer"} not in ({"src"}, {"id", "type"})
    ] == []
    assert len(page.all("script")) == scripts
    assert page.all("img") == page.all("iframe") == page.all("style") == []
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")]


def test_texts_of_a_run_folder_are_shown_as_they_are(tmp_path):
    trials = [
        ended(0, module=NASTY, placement="01*3"),
        ended(1, state="FAIL", epochs=0, val_loss=None, reason=NASTY),
        ended(2, ratio=NASTY, state="PRUNED"),
    ]
    events = [event(0, NASTY), event(1, "trial ended", 0, "01*3")]
    run = make_run(tmp_path, trials, [epoch(0, 1)], events)
    app = application(FolderWatch(str(run.path)))
    page = page_of(app)
    check_escaped(page, scripts=5)
    assert page.text.count("<script>alert(1)</script>") >= 4
    for part in changes_of(app).values():
        if "html" in part:
            check_escaped(Page(f"<div>{part['html']}</div>"), scripts=0)
        else:  # Plotly reads elements in texts
            assert "<script" not in json.dumps(part["figure"])
            assert "<img" not in json.dumps(part["figure"])


def test_a_hostile_filter_is_text(app):
    query = "filter=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
    page = page_of(app, f"{page_address(app)}?{query}")
    check_escaped(page, scripts=5)
    assert page.all("input")[0]["value"] == '"><script>alert(1)</script>'
    assert request(app, f"{page_address(app)}?filter={'x' * 9_000}")[0] == 200


def test_names_of_folders_are_text_and_their_links_work(tmp_path):
    for name in (b"\xff\xfe", b"<script>alert(1)<", b"a\x1b[31m\nb", b"'\"&amp;"):
        make_run(tmp_path / os.fsdecode(name))
    app = application(FolderWatch(str(tmp_path)))
    page = page_of(app)
    check_escaped(page, scripts=2)
    for shown in (r"\udcff\udcfe", "<script>alert(1)<", r"a\x1b[31m\nb", "'\"&amp;"):
        assert shown in page.text
    for link in [a["href"] for a in page.all("a") if a["href"].startswith("/run/")]:
        check_escaped(page_of(app, link), scripts=5)
    assert "<script>alert" not in unescape(request(app, "/")[2]).replace("<script>alert(1)<", "", 1)


@pytest.mark.parametrize("name", ["trials.csv", "epochs.csv", "events.csv", "config.toml"])
@pytest.mark.parametrize("kind", ["fifo", "device", "loop", "folder"])
def test_odd_files_are_told_and_not_waited_for(name, kind, run):
    from helpers.hostile import make_odd

    app = application(FolderWatch(str(run.path)))
    make_odd(run.table(name), kind)
    assert "cannot be read" in page_of(app).text
