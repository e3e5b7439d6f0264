"""Pictures read as a person reads them."""

from fnnet.pictures.forms import FORMS, Form, form_of
from fnnet.pictures.reading import Found, Reading, Steps, read_picture

__all__ = ["FORMS", "Form", "Found", "Reading", "Steps", "form_of", "read_picture"]
