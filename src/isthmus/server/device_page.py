"""The page on which a person approves a sign-in of another device."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

FORM = """<form method="post" action="/devicelogin">
<p><label>Code shown by the other device<br><input name="user_code" value="{user_code}" required autofocus></label></p>
<p><label>Name<br><input name="name" autocomplete="username" required></label></p>
<p><label>Password<br><input name="password" type="password" autocomplete="current-password" required></label></p>
<p>Only go on if you started this sign-in yourself.</p>
<p><button>Approve</button></p>
</form>"""

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Sign in to Isthmus</title></head>
<body>
<h1>Sign in to Isthmus</h1>
{notice}{form}
</body>
</html>
"""


def device_page(user_code: str, notice: str = "", *, status: int = 200, done: bool = False) -> HTMLResponse:
    """The page with what there is to say; without its form when the sign-in is done."""
    shown = f'<p role="status">{escape(notice)}</p>\n' if notice else ""
    form = "" if done else FORM.format(user_code=escape(user_code, quote=True))
    return HTMLResponse(PAGE.format(notice=shown, form=form), status, HEADERS)
