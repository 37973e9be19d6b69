"""Settings of the project. What differs from machine to machine comes from the environment.

BOOKSHOP_DATA            where everything lies that is written; `data` beside manage.py
BOOKSHOP_STATIC          where `manage.py collectstatic` puts files; `static` in the data directory
BOOKSHOP_SECRET_KEY      the key that signs sessions; made and kept in the data directory
BOOKSHOP_HOSTS           names the site answers to, separated by commas; those of this machine
BOOKSHOP_HTTPS           1 where clients come by HTTPS: cookies are then sent by HTTPS only
BOOKSHOP_DEBUG           1 shows errors to everyone who asks; never on the internet
BOOKSHOP_ADMIN_PASSWORD  of the user `admin` that `manage.py fill` creates
"""

import os
from pathlib import Path

from bookshop import secret

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("BOOKSHOP_DATA") or BASE_DIR / "data")
DATA_DIR.mkdir(mode=0o750, parents=True, exist_ok=True)

DEBUG = os.environ.get("BOOKSHOP_DEBUG") == "1"
SECRET_KEY = os.environ.get("BOOKSHOP_SECRET_KEY") or secret.read_or_create(DATA_DIR / "secret")
ALLOWED_HOSTS = os.environ.get("BOOKSHOP_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("BOOKSHOP_HTTPS") == "1"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "catalogue",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "bookshop.urls"
WSGI_APPLICATION = "bookshop.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "bookshop.sqlite",
        # Each thread keeps its connection; a pool has as many threads as it is configured with.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            # Readers do not wait for the writer, and writers queue from their first statement.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in [
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    ]
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# The admin's files. The server in front answers them, and has to be allowed to read them.
STATIC_URL = "static/"
STATIC_ROOT = os.environ.get("BOOKSHOP_STATIC") or DATA_DIR / "static"
MEDIA_ROOT = DATA_DIR / "media"

# Django alone tells nobody of an error when DEBUG is off. Here it goes to the error log.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
