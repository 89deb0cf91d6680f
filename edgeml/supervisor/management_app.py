"""The management plane as a Flask app over the table of routes.

A handler takes the call and the segments of its path, and gives an Answer. Flask finds the handler, answers HEAD and
OPTIONS, and refuses unknown paths and methods; who may call what is decided here, from the table, before a byte of a
body is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from edgeml.bundles.store import Store
from edgeml.errors import RequestError
from edgeml.supervisor.call import Call
from edgeml.supervisor.callers import Callers, check, check_origin
from edgeml.supervisor.dashboard import DashboardPlane, Reports
from edgeml.supervisor.management_routes import MANAGEMENT_ROUTES, ManagementRoute
from edgeml.supervisor.metrics_plane import MetricsPlane
from edgeml.supervisor.oci_manifests import OciManifests
from edgeml.supervisor.oci_plane import OciPlane
from edgeml.supervisor.oci_uploads import OciUploads
from edgeml.supervisor.places import Places
from edgeml.supervisor.refusals import Answer, refused
from edgeml.supervisor.releases import Releases
from edgeml.supervisor.releases_plane import ReleasesPlane
from edgeml.supervisor.watching import Watching
from edgeml.supervisor.watching_plane import WatchingPlane


@dataclass(frozen=True, slots=True)
class AppPlaces:
    """What may hold threads of the server at a time; together fewer than it has, so that going back finds one.

    Attributes:
        transfers: Blobs in transfer.
        hashing: Requests that read and hash blobs: manifests that come in, and questions whether a blob is here.
        waits: Clients that wait for the end of an operation.
    """

    transfers: int = 10
    hashing: int = 3
    waits: int = 3


def make_management_app(
    store: Store,
    releases: Releases,
    callers: Callers,
    *,
    watching: Watching | None = None,
    places: AppPlaces | None = None,
    reports: Reports | None = None,
) -> Flask:
    """Builds the app.

    Args:
        store: Where bundles go.
        releases: What decides about them.
        callers: Who may ask.
        watching: Who watches the models; None for nobody, and then nothing is known of them.
        places: How many of its threads the server gives to what may take long.
        reports: What the dashboard shows, by model; None for what is watched.
    """
    places, watching = places or AppPlaces(), watching or Watching(store)
    hashing = Places(places.hashing, "too many bundles are being verified")
    waits = Places(places.waits, "too many clients wait")
    transfers = Places(places.transfers, "too many blobs are in transfer")
    uploads = OciUploads(store, transfers=transfers, hashing=hashing, waits=waits)
    planes = {
        "metrics": MetricsPlane(watching, releases.live, store.state),
        "oci": OciPlane(store, uploads),
        "uploads": uploads,
        "manifests": OciManifests(store, hashing=hashing),
        "releases": ReleasesPlane(releases, waits=waits),
        "watch": WatchingPlane(watching),
        "dashboard": DashboardPlane(releases, reports or watching.reports),
    }
    app = Flask("edgeml.management", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for number, route in enumerate(MANAGEMENT_ROUTES):
        view = _view(route, _handler(planes, route), callers)
        path = route.path.replace("{", "<").replace("}", ">")
        app.add_url_rule(path, f"{route.handler}-{number}", view, methods=[route.method])
    app.register_error_handler(Exception, _failed)
    return app


def served_routes(app: Flask) -> set[tuple[str, str]]:
    """Methods and paths that the app serves, for the test that compares them with the table."""
    return {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def _handler(planes: Mapping[str, Any], route: ManagementRoute) -> Callable[..., Answer]:
    plane, _, method = route.handler.partition(".")
    handler: Callable[..., Answer] = getattr(planes[plane], method)
    return handler


def _view(route: ManagementRoute, handler: Callable[..., Answer], callers: Callers) -> Callable[..., Response]:
    def view(**segments: str) -> Response:
        check_origin(request.environ)
        call = Call(request.environ, callers.find(request.environ))
        check(call.caller, route.scope)
        return _response(handler(call, **segments))

    return view


def _response(answer: Answer) -> Response:
    status, headers, body = answer
    response = Response(body, status=status, headers=headers)
    # A location is sent as it is written: what is relative stays so, whatever name the box was called by.
    response.autocorrect_location_header = False
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _failed(error: Exception) -> Response:
    oci = request.path.startswith("/v2/")
    if isinstance(error, NotFound):
        error = RequestError(f"there is nothing at {request.path[:120]!r}; see /openapi.json", code="not_found")
    elif isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        text = f"{request.method[:20]} is not taken here; use {allowed}"
        return _response(refused(RequestError(text, code="method_not_allowed"), oci=oci, headers=[("Allow", allowed)]))
    elif isinstance(error, HTTPException):
        error = RequestError(error.description or error.name)
    return _response(refused(error, oci=oci))
