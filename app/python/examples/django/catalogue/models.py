"""Books, and who wrote them."""

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=200, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=200, db_index=True)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    year = models.PositiveSmallIntegerField()
    excerpt = models.FileField(upload_to="excerpts/", blank=True)

    class Meta:
        ordering = ["title"]

    def __str__(self):
        return self.title
