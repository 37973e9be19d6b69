"""Which view answers which path."""

from django.contrib import admin
from django.urls import path

from catalogue import views

urlpatterns = [
    path("", views.books, name="books"),
    path("twenty/", views.twenty, name="twenty"),
    path("hello/", views.hello, name="hello"),
    path("visits/", views.visits, name="visits"),
    path("upload/", views.upload, name="upload"),
    path("upload/raw/", views.upload_raw, name="upload-raw"),
    path("download/", views.download, name="download"),
    path("books/<int:number>/excerpt/", views.excerpt, name="excerpt"),
    path("stream/", views.stream, name="stream"),
    path("slow/", views.slow, name="slow"),
    path("admin/", admin.site.urls),
]
