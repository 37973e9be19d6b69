"""The one app of the project."""

from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    name = "catalogue"
