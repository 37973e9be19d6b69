"""WsgiDAV over a folder that anybody may write to."""

import os

from wsgidav.wsgidav_app import WsgiDAVApp

application = WsgiDAVApp({
    "provider_mapping": {"/": os.environ["SUBJECT_FOLDER"]},
    "simple_dc": {"user_mapping": {"*": True}},
    # Without it, properties cannot be set.
    "property_manager": True,
    # What goes wrong.
    "verbose": 1,
})
