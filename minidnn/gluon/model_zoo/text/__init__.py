"""Networks that read text: BERT, and encoders of sentences."""

from __future__ import annotations

from minidnn.gluon.model_zoo.text.bert import BertConfig, BertModel
from minidnn.gluon.model_zoo.text.gluonnlp import load_gluonnlp
from minidnn.gluon.model_zoo.text.models import get_model, list_models
from minidnn.gluon.model_zoo.text.sentences import SentenceEncoder

__all__ = ["BertConfig", "BertModel", "SentenceEncoder", "get_model", "list_models", "load_gluonnlp"]
