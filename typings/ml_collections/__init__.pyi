"""What we use of ml_collections, with the types that it does not declare: a field of a config may be anything."""

from ml_collections import config_dict as config_dict
from ml_collections.config_dict import ConfigDict as ConfigDict
