"""Git's smart protocol over HTTP, by dulwich, for one repository that anybody may push to."""

import os

from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

application = make_wsgi_chain(DictBackend({"/project.git": Repo(os.environ["SUBJECT_FOLDER"])}))
