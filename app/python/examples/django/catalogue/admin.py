"""How the admin shows authors and books."""

from django.contrib import admin

from catalogue.models import Author, Book


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    search_fields = ["name"]


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ["title", "author", "year"]
    list_filter = ["author"]
    list_select_related = ["author"]
    search_fields = ["title", "author__name"]
