"""The pages. Each does one thing that an application server has to be good at."""

import contextlib
import hashlib
import os
import tempfile
import time

from django.conf import settings
from django.http import FileResponse, Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from catalogue.forms import UploadForm
from catalogue.models import Book

ROWS = 20
DOWNLOAD_BYTES = 10 * 1024 * 1024
PIECE_BYTES = 64 * 1024
LONGEST_PAUSE_MS = 60_000
MOST_LINES = 10_000


@require_safe
def books(request):
    """Twenty books by one query, through a template."""
    found = Book.objects.select_related("author").filter(title__contains=request.GET.get("q", ""))
    return render(request, "catalogue/books.html", {"books": found[:ROWS]})


@require_safe
def twenty(request):
    """Nineteen books by twenty queries: one for the books, and one for the author of each."""
    return render(request, "catalogue/books.html", {"books": Book.objects.all()[: ROWS - 1]})


@require_safe
def hello(request):
    """The least that a view can do."""
    return HttpResponse("Hello from Django.\n", content_type="text/plain; charset=utf-8")


@require_safe
def visits(request):
    """Counts the visits of a client in its session."""
    count = request.session.get("visits", 0) + 1
    request.session["visits"] = count
    return HttpResponse(f"{count}\n", content_type="text/plain")


def upload(request):
    """A form with a file; tells what arrived and keeps nothing."""
    form = UploadForm(request.POST or None, request.FILES or None)
    received = None
    if request.method == "POST" and form.is_valid():
        file = form.cleaned_data["file"]
        received = {"title": form.cleaned_data["title"], "name": file.name}
        received |= measure(file.chunks(PIECE_BYTES))
    return render(request, "catalogue/upload.html", {"form": form, "received": received})


# Nothing is changed, so there is nothing that another site could make a browser do.
@csrf_exempt
@require_POST
def upload_raw(request):
    """Reads the body as it comes; tells its size and SHA-256."""
    return JsonResponse(measure(iter(lambda: request.read(PIECE_BYTES), b"")))


@require_safe
def download(request):
    """A file of 10 MiB, which the server sends without Python (`wsgi.file_wrapper`)."""
    path = settings.DATA_DIR / "download.bin"
    if not path.exists():
        create_download(path)
    return FileResponse(path.open("rb"), as_attachment=True, filename="download.bin")


@require_safe
def excerpt(request, number):
    """The file that was uploaded in the admin for a book."""
    book = get_object_or_404(Book, pk=number)
    if not book.excerpt:
        raise Http404("this book has no excerpt")
    return FileResponse(book.excerpt.open("rb"), as_attachment=True)


@require_safe
def stream(request):
    """Lines that are made while they are sent: `?lines=10&ms=100`."""
    lines = number_of(request, "lines", 10, MOST_LINES)
    pause = number_of(request, "ms", 0, LONGEST_PAUSE_MS) / 1000

    def body():
        for line in range(lines):
            if line and pause:
                time.sleep(pause)
            yield f"line {line}\n"

    return StreamingHttpResponse(body(), content_type="text/plain")


@require_safe
def slow(request):
    """Answers after a pause, as a view does that waits for another service: `?ms=20`."""
    pause = number_of(request, "ms", 20, LONGEST_PAUSE_MS)
    time.sleep(pause / 1000)
    return HttpResponse(f"{pause} ms\n", content_type="text/plain")


def measure(pieces):
    """Size and SHA-256 of what comes in pieces."""
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def number_of(request, name, default, most):
    """A number of the query string, within its limit."""
    text = request.GET.get(name, "")
    return min(int(text), most) if text.isdecimal() else default


def create_download(path):
    """Makes the file under another name first: whoever finds it, finds it whole."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:
        line = b"0123456789abcdef" * 4
        file.write(line * (DOWNLOAD_BYTES // len(line)))
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
