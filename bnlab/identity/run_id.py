"""The id of a run: a name with the most important settings, and a hash of all that can change its numbers."""

import hashlib
import json
import re

from bnlab.data.fingerprint import content_fingerprint
from bnlab.identity.own_parts import own_code
from bnlab.later_settings import without_later_settings
from bnlab.renamed import first_names
from bnlab.runfolder.folder import SCHEMA_VERSION
from bnlab.runfolder.immaterial import IMMATERIAL
from bnlab.schema import RunConfig


def run_id(config: RunConfig) -> str:
    """Return the name of a run's folder: the most important settings, then a hash of all that can change its numbers.

    These are the settings (see `bnlab.later_settings` for those that were added), the content of the data, and the code
    of norms and diagnostics that are not bnlab's. The hash covers nothing else, so that the same config finds its
    results again.

    Raises:
        DataError: The data cannot be read.
    """
    facts = without_later_settings(config.as_dict())
    for key in IMMATERIAL:
        section, _, name = key.rpartition(".")
        (facts[section] if section else facts).pop(name, None)
        if section and not facts[section]:
            del facts[section]
    facts["schema_version"] = SCHEMA_VERSION
    facts["diagnostics"]["names"] = first_names(config.diagnostics.names)
    facts["data"]["path"] = content_fingerprint(config.data)
    code = {key: one.digest for key, one in own_code(config).items() if one.digest}
    if code:
        facts["code"] = code  # at the top, where no option of an own norm has this name
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    norm, model, data = (part.name.rpartition(":")[2] for part in (config.norm, config.model, config.data))
    name = f"{norm}-{model}-{data}-lr{config.optim.lr:g}-s{config.seed}"
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}-{digest}"
