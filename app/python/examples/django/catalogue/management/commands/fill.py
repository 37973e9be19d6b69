"""Fills the database with sample books, and creates the user `admin`.

Running it again changes nothing but the password, so that it can be part of any start.
"""

import os

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction

from catalogue.models import Author, Book

AUTHORS = 40
BOOKS = 200


class Command(BaseCommand):
    help = "Fills the database with sample books, and creates the user admin."

    @transaction.atomic
    def handle(self, **options):
        if not Book.objects.exists():
            authors = [Author(name=f"Author {number:03}") for number in range(AUTHORS)]
            Author.objects.bulk_create(authors)
            Book.objects.bulk_create(
                Book(
                    title=f"Book {number:03} & what became of it",
                    author=authors[number % AUTHORS],
                    year=1900 + number % 120,
                )
                for number in range(BOOKS)
            )
        self.stdout.write(f"{Book.objects.count()} books")
        self.create_admin()

    def create_admin(self):
        password = os.environ.get("BOOKSHOP_ADMIN_PASSWORD")
        if not password:
            self.stdout.write("no user admin: BOOKSHOP_ADMIN_PASSWORD is not set")
            return
        user, _created = get_user_model().objects.get_or_create(
            username="admin", defaults={"is_staff": True, "is_superuser": True}
        )
        user.set_password(password)
        user.save()
        self.stdout.write("user admin")
