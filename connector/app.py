"""Wires the objects: a configuration becomes the setup that the pipeline runs on. The only place that calls `connect`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

from pydantic import SecretStr

from connector import fading, identity, lifecycle, mapping
from connector.config import Config, fingerprint
from connector.scoring import ScoringModel
from connector.section import Section
from connector.state import open_state
from connector.steps import events
from connector.steps.setup import Connected, Setup
from connector.writeback import named


def build(config: Config) -> Setup:
    """The house of a configuration. Opens the state; connects to nothing. Raises ConfigError or StateError."""
    return Setup(
        systems={name: _system(config, name) for name in config.systems},
        region=config.region,
        identity=config.identity,
        survivorship=config.survivorship,
        models=config.scoring,
        lifecycle=config.lifecycle,
        tasks=config.tasks,
        writeback=config.writeback,
        state=open_state(config.state, config.directory),
        mart_section=config.mart,
        directory=config.directory,
        levels=lifecycle.levels(config.lifecycle, config.tasks),
        every=config.schedule.streams,
        fingerprints=_fingerprints(config),
        place=config.place,
    )


def _system(config: Config, name: str) -> Connected:
    adapter, options = config.adapters[name], config.systems[name]
    return Connected(
        name=name,
        adapter=adapter,
        capabilities=adapter.suited(options) if adapter.suited else adapter.capabilities,
        connect=partial(adapter.connect, name, options),
        mappings=mapping.load(adapter.kind, config.mapping.get(name, {}), system=name),
        outputs=named(adapter.capabilities, config.writeback.fields.get(name, {})),
        credentials=_credentials(options),
    )


def _credentials(options: Section) -> str:
    values = {name: value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in options}
    return hashlib.blake2b(repr(sorted(values.items())).encode(), digest_size=16, person=b"credentials").hexdigest()


def _fingerprints(config: Config) -> dict[str, str]:
    parts: dict[str, Section | Mapping[str, Section]] = {
        "identity": {"identity": config.identity, "survivorship": config.survivorship},
        "engagement": {name: _engagement(model) for name, model in config.scoring.items()},
        "scoring": dict(config.scoring),
        "lifecycle": {"lifecycle": config.lifecycle, **config.tasks},
        "writeback": {"writeback": config.writeback},
    }
    known = {name: fingerprint(part) for name, part in parts.items()}
    ruled = {"identity": identity.RULES, "engagement": events.RULES, "scoring": fading.RULES}
    return {"config": config.fingerprint, **known, **{name: f"{known[name]}-{rules}" for name, rules in ruled.items()}}


def _engagement(model: ScoringModel) -> ScoringModel:
    """The model less what folding events does not look at."""
    return model.model_copy(update={"fit": (), "grades": {}})
