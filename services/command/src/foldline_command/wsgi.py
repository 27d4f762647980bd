"""The WSGI entry point: `gunicorn foldline_command.wsgi:app`."""

import os
import sys

from foldline_command import logs
from foldline_command.app import create_app
from foldline_command.config import Settings
from foldline_contracts.config import ConfigurationError

logs.configure()
try:
    app = create_app(Settings.from_env(os.environ))
except ConfigurationError as error:
    sys.exit(str(error))
