"""The WSGI entry point: `gunicorn foldline_query.wsgi:app`."""

import os
import sys

from foldline_contracts.config import ConfigurationError
from foldline_query import logs
from foldline_query.app import create_app
from foldline_query.config import Settings

logs.configure()
try:
    app = create_app(Settings.from_env(os.environ))
except (ConfigurationError, ValueError) as error:
    sys.exit(str(error))
