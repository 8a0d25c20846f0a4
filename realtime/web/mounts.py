"""The routes of actor modules, each module's in a small application of its own.

Quart cannot take a blueprint out of an application again. They are guarded and fail as our own routes do; what our own
application has a route for, it serves itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quart import Blueprint, Quart
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, RequestRedirect, Rule, WebsocketMismatch

from realtime.web.access import check_websocket
from realtime.web.app import bare_app
from realtime.web.backend import Backend


class Mounts:
    """The applications by the modules' ids."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._apps: dict[str, Quart] = {}
        self._rules = Map()

    @property
    def applications(self) -> Mapping[str, Quart]:
        """As they are now."""
        return self._apps

    def check(self, id: str, blueprint: Blueprint) -> None:
        """Whether *blueprint* may be put in as that of *id*.

        Raises:
          ValueError: naming the rule, and who has it; or it cannot be registered.
        """
        self._clashes(id, self._make(id, blueprint))

    def put(self, id: str, blueprint: Blueprint) -> None:
        """Serve *blueprint*, in place of what *id* has; errors as `check`."""
        made = self._make(id, blueprint)
        self._clashes(id, made)
        self._apps[id] = made
        self._gather()

    def remove(self, id: str) -> None:
        """Serve nothing of *id* any more; requests under way go on."""
        if self._apps.pop(id, None) is not None:
            self._gather()

    def find(self, ours: Quart, scope: Any) -> Quart | None:
        """Which of them is to answer *scope*; None if *ours* has a route for it, or none of all has."""
        # Most of what comes is for no module at all, and is told so by one look, however many there are.
        if matches(self._rules, scope) is False or matches(ours.url_map, scope) is not False:
            return None
        near = None
        for app in self._apps.values():
            fit = matches(app.url_map, scope)
            if fit:
                return app
            if fit is None and near is None:
                near = app  # it knows the path alone, which is better than none
        return near

    def _gather(self) -> None:
        """Put the rules of all into one map."""
        apps = self._apps.values()
        converters = {name: each for app in apps for name, each in app.url_map.converters.items()}
        rules = [_copy(rule) for app in apps for rule in app.url_map.iter_rules()]
        self._rules = Map(rules, converters=converters, merge_slashes=False)

    def _make(self, id: str, blueprint: Blueprint) -> Quart:
        app = bare_app(f"realtime.modules.{id}", self._backend)
        app.before_websocket(check_websocket)
        try:
            app.register_blueprint(blueprint)
        except Exception as error:  # of whatever it does when it is registered
            raise ValueError(f"its routes cannot be used: {error}") from error
        if not list(app.url_map.iter_rules()):
            raise ValueError("its routes() has no route")
        return app

    def _clashes(self, id: str, app: Quart) -> None:
        for other_id, other in self._apps.items():
            if other_id == id:
                continue
            theirs = {key for rule in other.url_map.iter_rules() for key in _keys(rule)}
            for rule in app.url_map.iter_rules():
                if not theirs.isdisjoint(_keys(rule)):
                    raise ValueError(f"the route {rule.rule} is that of [actors.{other_id}] too")


def _copy(rule: Rule) -> Rule:
    """*rule*, which belongs to one map, for another one."""
    # Not by its own empty(), which Quart's class does not support.
    methods = None if rule.websocket else rule.methods
    return Rule(rule.rule, methods=methods, websocket=rule.websocket, strict_slashes=rule.strict_slashes)


def _keys(rule: Rule) -> Iterable[tuple[str, str]]:
    """What no two rules may have in common."""
    methods = {"WEBSOCKET"} if rule.websocket else (rule.methods or set()) - {"OPTIONS"}
    return {(rule.rule, method) for method in methods}


def matches(rules: Map, scope: Any) -> bool | None:
    """Whether *rules* has one for *scope*; None if it has one for the path alone, with another method."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"].removeprefix(root) if root else scope["path"]
    websocket = scope["type"] == "websocket"
    adapter = rules.bind("localhost", url_scheme="ws" if websocket else "http")
    try:
        adapter.match(path, method="GET" if websocket else scope["method"], websocket=websocket)
    except NotFound:
        return False
    except (MethodNotAllowed, WebsocketMismatch):
        return None
    except (RequestRedirect, HTTPException):
        return True
    return True
