import pwd

import pytest

from foldline_local.errors import LocalError
from foldline_local.services.accounts import require_reachable


def test_a_folder_that_shuts_postgres_out_is_named(tmp_path):
    shut = tmp_path / "shut"
    (shut / "data").mkdir(parents=True)
    shut.chmod(0o700)
    with pytest.raises(LocalError, match=r"who cannot enter .*; choose another place"):
        require_reachable(shut / "data", pwd.getpwuid(0))
