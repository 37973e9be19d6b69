"""The form of the upload page."""

from django import forms


class UploadForm(forms.Form):
    title = forms.CharField(max_length=200)
    file = forms.FileField()
