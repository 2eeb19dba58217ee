from urllib.parse import unquote

from jupyterhub.auth import Authenticator
from jupyterhub.handlers import BaseHandler, LogoutHandler
from tornado import web


def remote_user(handler):
    return unquote(handler.request.headers.get("Remote-User", "")).lower()


class RemoteUserLogin(BaseHandler):
    async def get(self):
        user = await self.login_user({"username": remote_user(self)})
        if user is None:
            raise web.HTTPError(403)
        self.redirect(self.get_next_url(user))


class RemoteUserLogout(LogoutHandler):
    async def render_logout_page(self):
        self.redirect("/.vestibule/logout")


class RemoteUser(Authenticator):
    auto_login = True

    def get_handlers(self, app):
        return [("/login", RemoteUserLogin), ("/logout", RemoteUserLogout)]

    async def authenticate(self, handler, data):
        return data["username"] or None

    # The hub keeps a cookie of its own: it counts only for the person whom the gateway names.
    async def refresh_user(self, user, handler=None):
        return handler is None or remote_user(handler) == user.name


c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.authenticator_class = RemoteUser
c.Authenticator.allow_all = True  # who gets in is decided at the gateway
c.Authenticator.auth_refresh_age = 1
