"""Every table of topics of this room, by kind."""

from __future__ import annotations

from collections.abc import Callable

from postlude.facts.asked import ABSENT, ASKED
from postlude.facts.basics import BASICS, CONCEPT
from postlude.facts.derivation import DERIVATION, STEP
from postlude.facts.errata import errata
from postlude.facts.erratum import KIND as ERROR
from postlude.facts.feedback import FEEDBACK, FEEDBACK_TOPICS
from postlude.facts.groups import GROUPS, LIMIT, LIMITATIONS
from postlude.facts.policy import POLICY
from postlude.facts.practice import CHOICE, CHOICES, GAMING, HACKING, PRACTICE, SYMPTOM, SYMPTOMS, TIP
from postlude.facts.ranks import RANKS
from postlude.facts.reward_models import REWARD_MODELS
from postlude.facts.reward_models import ROW as REWARD_MODEL
from postlude.facts.servers import SERVERS
from postlude.facts.settings import ROW as SETTING
from postlude.facts.settings import settings
from postlude.facts.topic import Topic

Table = Callable[[], tuple[Topic, ...]]
_ALL = (
    *BASICS,
    *FEEDBACK_TOPICS,
    *REWARD_MODELS,
    *POLICY,
    *GROUPS,
    *LIMITATIONS,
    *CHOICES,
    *PRACTICE,
    *SYMPTOMS,
    *HACKING,
    *DERIVATION,
    *ASKED,
    *SERVERS,
    *RANKS,
)


def _of(kind: str) -> Table:
    return lambda: tuple(topic for topic in _ALL if topic.kind == kind)


TABLES: tuple[tuple[str, str, Table], ...] = (
    (SYMPTOM, "what goes wrong, and what to do", _of(SYMPTOM)),
    (CONCEPT, "concepts", _of(CONCEPT)),
    (CHOICE, "choosing a method", _of(CHOICE)),
    (TIP, "tips for training", _of(TIP)),
    (GAMING, "reward hacking and what helps", _of(GAMING)),
    (FEEDBACK, "kinds of feedback", _of(FEEDBACK)),
    (REWARD_MODEL, "kinds of reward models", _of(REWARD_MODEL)),
    (STEP, "from PPO's objective to DPO's loss", _of(STEP)),
    (LIMIT, "limitations of DRPO", _of(LIMIT)),
    (SETTING, "numbers to begin with", settings),
    (ABSENT, "what is not here, and what there is", _of(ABSENT)),
    (ERROR, "corrected errors of the notes", errata),
)
"""(kind, what its topics are, the topics)."""
