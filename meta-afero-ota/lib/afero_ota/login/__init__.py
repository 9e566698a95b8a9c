# SPDX-License-Identifier: MIT
"""How this client logs in: by password, by a refresh token that is kept in a file, or with an access token that it is given."""

from . import settings as settings
